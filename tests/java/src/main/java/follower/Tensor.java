package follower;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/** Elements in C order, little-endian. Never changed. */
record Tensor(DType dtype, long[] shape, byte[] data) {
    boolean is(DType wanted, long... axes) {
        return dtype == wanted && Arrays.equals(shape, axes);
    }

    boolean hasLayoutOf(Tensor other) {
        return is(other.dtype, other.shape);
    }

    int axes() {
        return shape.length;
    }

    ByteBuffer buffer() {
        return ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
    }

    boolean isFinite() {
        ByteBuffer buffer = buffer();
        for (int at = 0; at < data.length; at += dtype.bytes) {
            if (!dtype.isFinite(buffer, at)) {
                return false;
            }
        }
        return true;
    }

    /** Element `index` of a tensor of F32 or F64. */
    double number(int index) {
        return dtype == DType.F32 ? buffer().getFloat(4 * index) : buffer().getDouble(8 * index);
    }

    /** Element `index` of a tensor of I64 or U64. */
    long whole(int index) {
        return buffer().getLong(8 * index);
    }
}
