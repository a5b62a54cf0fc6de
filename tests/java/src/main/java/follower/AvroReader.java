package follower;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Reads Avro's binary encoding, canonical bytes only. */
final class AvroReader {
    /** The bytes are not a canonical record. */
    static final class Bad extends Exception {
        Bad(String reason) {
            super(reason);
        }
    }

    /** Reads one item of an array, or one field. */
    interface Item<T> {
        T read() throws Bad;
    }

    private final byte[] data;
    private int at;

    AvroReader(byte[] data, int start) {
        this.data = data;
        this.at = start;
    }

    long readLong() throws Bad {
        long value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            int next = readByte();
            if (shift == 63 && next > 1) {
                throw new Bad("a number of more than 64 bits");
            }
            value |= (long) (next & 0x7f) << shift;
            if (next < 0x80) {
                if (next == 0 && shift > 0) {
                    throw new Bad("an overlong number");
                }
                return value >>> 1 ^ -(value & 1);
            }
        }
        throw new Bad("a number of more than 64 bits");
    }

    int readInt() throws Bad {
        long value = readLong();
        if (value != (int) value) {
            throw new Bad("a number of more than 32 bits");
        }
        return (int) value;
    }

    byte[] readBytes() throws Bad {
        long length = readLong();
        if (length < 0 || length > data.length - at) {
            throw new Bad("a length beyond the end");
        }
        byte[] bytes = new byte[(int) length];
        System.arraycopy(data, at, bytes, 0, bytes.length);
        at += bytes.length;
        return bytes;
    }

    String readString() throws Bad {
        try {
            return Text.decode(readBytes());
        } catch (CharacterCodingException error) {
            throw new Bad("text is not UTF-8");
        }
    }

    double readDouble() throws Bad {
        if (data.length - at < 8) {
            throw new Bad("the record ends inside a number");
        }
        double value = ByteBuffer.wrap(data, at, 8).order(ByteOrder.LITTLE_ENDIAN).getDouble();
        at += 8;
        return value;
    }

    boolean readBoolean() throws Bad {
        int value = readByte();
        if (value > 1) {
            throw new Bad("a boolean that is neither 0 nor 1");
        }
        return value == 1;
    }

    String readOptionalString() throws Bad {
        return readChoice(2) == 0 ? null : readString();
    }

    /** The index of an enum's symbol or a union's branch. */
    int readChoice(int count) throws Bad {
        long index = readLong();
        if (index < 0 || index >= count) {
            throw new Bad("no such symbol or branch");
        }
        return (int) index;
    }

    <T> List<T> readArray(Item<T> item) throws Bad {
        long count = readLong();
        List<T> items = new ArrayList<>();
        if (count < 0) {
            throw new Bad("an array with its size");
        }
        for (long index = 0; index < count; index++) {
            items.add(item.read());
        }
        if (count > 0 && readLong() != 0) {
            throw new Bad("an array in several blocks");
        }
        return items;
    }

    /** Passes over a map; its keys must differ. */
    void skipMap(Item<?> value) throws Bad {
        Set<String> keys = new HashSet<>();
        for (String key : readArray(() -> readEntry(value))) {
            if (!keys.add(key)) {
                throw new Bad("a key comes twice");
            }
        }
    }

    void expectEnd() throws Bad {
        if (at != data.length) {
            throw new Bad("bytes behind the last field");
        }
    }

    private String readEntry(Item<?> value) throws Bad {
        String key = readString();
        value.read();
        return key;
    }

    private int readByte() throws Bad {
        if (at >= data.length) {
            throw new Bad("the record ends too early");
        }
        return data[at++] & 0xff;
    }
}
