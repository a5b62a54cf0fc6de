package follower;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;

/** The digest of named tensors. */
final class Digest {
    private static final int CHUNK_BYTES = 1_024;

    private Digest() {}

    static String of(Map<String, Tensor> tensors) {
        Map<byte[], Tensor> byName = new TreeMap<>(Arrays::compareUnsigned);
        tensors.forEach((name, tensor) -> byName.put(Text.encode(name), tensor));
        MessageDigest digest = sha256();
        digest.update(Text.encode("rheostat-tensors/1\0"));
        digest.update(u32(byName.size()));
        byName.forEach((name, tensor) -> {
            update(digest, name);
            digest.update(ofTensor(name, tensor));
        });
        return HexFormat.of().formatHex(digest.digest());
    }

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    private static byte[] ofTensor(byte[] name, Tensor tensor) {
        MessageDigest digest = sha256();
        digest.update(Text.encode("rheostat-tensor/1\0"));
        update(digest, name);
        update(digest, Text.encode(tensor.dtype().name()));
        digest.update(u32(tensor.axes()));
        for (long axis : tensor.shape()) {
            digest.update(littleEndian(8).putLong(axis).array());
        }
        MessageDigest chunk = sha256();
        for (int at = 0; at < tensor.data().length; at += CHUNK_BYTES) {
            chunk.update(tensor.data(), at, Math.min(CHUNK_BYTES, tensor.data().length - at));
            digest.update(chunk.digest());
        }
        return digest.digest();
    }

    private static void update(MessageDigest digest, byte[] text) {
        digest.update(u32(text.length));
        digest.update(text);
    }

    private static byte[] u32(int value) {
        return littleEndian(4).putInt(value).array();
    }

    private static ByteBuffer littleEndian(int bytes) {
        return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }
}
