package follower;

import java.util.Arrays;

/** One record of the topic: a signed manifest and one chunk of a tensors file. */
record UpdateRecord(byte[] manifest, String keyId, byte[] signature, int chunk, byte[] tensors) {
    private static final int SCHEMA_ID = 10;

    static UpdateRecord decode(byte[] value) throws Refused {
        byte[] header = {0, 0, 0, 0, SCHEMA_ID};
        if (value.length < header.length || !Arrays.equals(value, 0, header.length, header, 0, header.length)) {
            throw new Refused("record", "not a record of the schema `models`");
        }
        try {
            AvroReader in = new AvroReader(value, header.length);
            UpdateRecord record =
                    new UpdateRecord(in.readBytes(), in.readString(), in.readBytes(), in.readInt(), in.readBytes());
            in.expectEnd();
            return record;
        } catch (AvroReader.Bad error) {
            throw new Refused("record", error.getMessage());
        }
    }

    /** Whether the signed part is the same, byte for byte. */
    boolean signedAs(UpdateRecord other) {
        return Arrays.equals(manifest, other.manifest)
                && keyId.equals(other.keyId)
                && Arrays.equals(signature, other.signature);
    }
}
