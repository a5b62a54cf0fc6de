package follower;

import java.util.Comparator;

/** Ordered by epoch, then by sequence. */
record Version(long epoch, long sequence) implements Comparable<Version> {
    private static final Comparator<Version> ORDER =
            Comparator.comparingLong(Version::epoch).thenComparingLong(Version::sequence);

    @Override
    public int compareTo(Version other) {
        return ORDER.compare(this, other);
    }

    @Override
    public String toString() {
        return epoch + "." + sequence;
    }
}
