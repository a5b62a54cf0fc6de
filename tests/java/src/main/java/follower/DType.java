package follower;

import java.nio.ByteBuffer;

/** The types of elements, by their names in tensors files. */
enum DType {
    BOOL(1), U8(1), U16(2), U32(4), U64(8), I8(1), I16(2), I32(4), I64(8), F16(2), F32(4), F64(8);

    final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /** The type of this name, or null. */
    static DType named(String name) {
        for (DType each : values()) {
            if (each.name().equals(name)) {
                return each;
            }
        }
        return null;
    }

    /** Whether the element at this byte is neither NaN nor infinite. */
    boolean isFinite(ByteBuffer data, int at) {
        return switch (this) {
            case F16 -> (data.getShort(at) & 0x7c00) != 0x7c00;
            case F32 -> Float.isFinite(data.getFloat(at));
            case F64 -> Double.isFinite(data.getDouble(at));
            default -> true;
        };
    }
}
