package follower;

import java.util.List;
import java.util.regex.Pattern;

/** The signed part of an update, as far as a follower needs it. */
record Manifest(
        String model,
        Version version,
        boolean isDelta,
        Inputs inputs,
        String parentDigest,
        String digest,
        String payloadDigest,
        long payloadBytes,
        int chunks,
        List<Probe> probes,
        String mode,
        List<String> withheld) {

    /** What a delta must not change. */
    record Inputs(
            String learner,
            String featureSet,
            List<String> numeric,
            List<String> categorical,
            List<String> actions,
            List<Neutral> trainingOnly) {}

    /** A feature that is learned but not scored with. */
    record Neutral(String name, double number, String text) {}

    /** A golden input, and its score. */
    record Probe(List<Double> numeric, List<String> categorical, double score) {}

    private static final Pattern MODEL = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,62}");
    private static final List<String> MODES = List.of("online", "apprentice", "log-only");
    private static final Pattern DIGEST = Pattern.compile("[0-9a-f]{64}");

    static Manifest decode(byte[] body) throws Refused {
        try {
            Manifest manifest = read(new AvroReader(body, 0));
            manifest.check();
            return manifest;
        } catch (AvroReader.Bad error) {
            throw new Refused("manifest", error.getMessage());
        }
    }

    /** The message key of the record with this chunk. */
    byte[] key(int chunk) {
        return Text.encode(model + "|" + (isDelta ? "delta" : "base") + "|" + version + "|" + chunk);
    }

    private static Manifest read(AvroReader in) throws AvroReader.Bad {
        String model = in.readString();
        Version version = new Version(in.readLong(), in.readLong());
        boolean isDelta = in.readChoice(2) == 1;
        String learner = in.readString();
        String featureSet = in.readString();
        List<String> numeric = in.readArray(in::readString);
        List<String> categorical = in.readArray(in::readString);
        String parentDigest = in.readOptionalString();
        String digest = in.readString();
        String payloadDigest = in.readString();
        long payloadBytes = in.readLong();
        int chunks = in.readInt();
        in.readArray(() -> in.readInt() + in.readLong()); // offsets
        in.readArray(() -> skipTrainingRange(in));
        in.readLong(); // examples_total
        in.skipMap(in::readDouble); // metrics
        in.skipMap(in::readString); // libraries
        List<Probe> probes = in.readArray(() -> readProbe(in));
        in.readLong(); // published_at
        in.readOptionalString(); // command_id
        List<String> actions = in.readArray(in::readString);
        List<Neutral> trainingOnly =
                in.readArray(() -> new Neutral(in.readString(), in.readDouble(), in.readString()));
        String mode = in.readString();
        List<String> withheld = in.readArray(in::readString);
        in.expectEnd();
        Inputs inputs = new Inputs(learner, featureSet, numeric, categorical, actions, trainingOnly);
        return new Manifest(
                model,
                version,
                isDelta,
                inputs,
                parentDigest,
                digest,
                payloadDigest,
                payloadBytes,
                chunks,
                probes,
                mode,
                withheld);
    }

    private static Object skipTrainingRange(AvroReader in) throws AvroReader.Bad {
        in.readInt();
        in.readLong();
        in.readLong();
        in.readInt();
        return in.readBoolean();
    }

    private static Probe readProbe(AvroReader in) throws AvroReader.Bad {
        return new Probe(in.readArray(in::readDouble), in.readArray(in::readString), in.readDouble());
    }

    private void check() throws Refused {
        require(MODEL.matcher(model).matches(), "model");
        require(version.epoch() >= 0 && version.sequence() >= 0, "version");
        require((parentDigest != null) == isDelta, "parent_digest");
        require(DIGEST.matcher(digest).matches() && DIGEST.matcher(payloadDigest).matches(), "digest");
        require(parentDigest == null || DIGEST.matcher(parentDigest).matches(), "parent_digest");
        require(MODES.contains(mode), "mode");
        require(payloadBytes >= 1 && chunks >= 1, "payload_bytes or chunks");
        for (Neutral each : inputs.trainingOnly) {
            boolean isNumber = inputs.numeric.contains(each.name);
            require(isNumber || inputs.categorical.contains(each.name), "training_only");
            require(!isNumber || Double.isFinite(each.number), "training_only");
        }
    }

    private static void require(boolean holds, String field) throws Refused {
        if (!holds) {
            throw new Refused("manifest", field);
        }
    }
}
