package follower;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** BLAKE2b (RFC 7693) with a digest of 8 bytes and no key. */
final class Blake2b {
    private static final int BLOCK_BYTES = 128;
    private static final int DIGEST_BYTES = 8;
    private static final long[] IV = {
        0x6a09e667f3bcc908L, 0xbb67ae8584caa73bL, 0x3c6ef372fe94f82bL, 0xa54ff53a5f1d36f1L,
        0x510e527fade682d1L, 0x9b05688c2b3e6c1fL, 0x1f83d9abfb41bd6bL, 0x5be0cd19137e2179L,
    };
    private static final int[][] SIGMA = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
        {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
        {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
        {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
        {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    };

    private Blake2b() {}

    /** The digest, read as a little-endian number. */
    static long hash64(byte[] message) {
        long[] state = IV.clone();
        state[0] ^= 0x01010000L ^ DIGEST_BYTES;
        int at = 0;
        while (message.length - at > BLOCK_BYTES) {
            compress(state, message, at, BLOCK_BYTES, false);
            at += BLOCK_BYTES;
        }
        compress(state, message, at, message.length - at, true);
        return state[0];
    }

    private static void compress(long[] state, byte[] message, int start, int length, boolean isLast) {
        byte[] block = new byte[BLOCK_BYTES];
        System.arraycopy(message, start, block, 0, length);
        ByteBuffer words = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN);
        long[] v = new long[16];
        System.arraycopy(state, 0, v, 0, 8);
        System.arraycopy(IV, 0, v, 8, 8);
        v[12] ^= start + length;
        v[14] ^= isLast ? -1L : 0L;
        for (int round = 0; round < 12; round++) {
            int[] order = SIGMA[round % SIGMA.length];
            for (int index = 0; index < 8; index++) {
                int shift = index < 4 ? 0 : 1;
                long x = words.getLong(8 * order[2 * index]);
                long y = words.getLong(8 * order[2 * index + 1]);
                mix(v, index % 4, 4 + (index + shift) % 4, 8 + (index + 2 * shift) % 4, 12 + (index + 3 * shift) % 4, x, y);
            }
        }
        for (int index = 0; index < 8; index++) {
            state[index] ^= v[index] ^ v[index + 8];
        }
    }

    private static void mix(long[] v, int a, int b, int c, int d, long x, long y) {
        v[a] += v[b] + x;
        v[d] = Long.rotateRight(v[d] ^ v[a], 32);
        v[c] += v[d];
        v[b] = Long.rotateRight(v[b] ^ v[c], 24);
        v[a] += v[b] + y;
        v[d] = Long.rotateRight(v[d] ^ v[a], 16);
        v[c] += v[d];
        v[b] = Long.rotateRight(v[b] ^ v[c], 63);
    }
}
