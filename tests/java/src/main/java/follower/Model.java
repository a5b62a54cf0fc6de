package follower;

import java.util.Map;

/** One model: the version in use, replaced as a whole by the next one that passes every check. */
final class Model {
    private static final double PROBE_TOLERANCE = 1e-6;

    private Manifest manifest;
    private Map<String, Tensor> tensors;

    /** The version in use, or null. */
    Version version() {
        return manifest == null ? null : manifest.version();
    }

    String digest() {
        return manifest.digest();
    }

    Map<String, Tensor> tensors() {
        return tensors;
    }

    void apply(Assembler.Update update) throws Refused {
        Manifest next = update.manifest();
        checkOrder(next);
        Map<String, Tensor> result = next.isDelta() ? Delta.apply(tensors, update.tensors()) : update.tensors();
        if (!Digest.of(result).equals(next.digest())) {
            throw new Refused("digest", "the result is not what was signed for");
        }
        for (Map.Entry<String, Tensor> each : update.tensors().entrySet()) {
            if (!each.getValue().isFinite()) {
                throw new Refused("finite", each.getKey());
            }
        }
        checkProbes(next, Scorer.of(next.inputs(), result));
        manifest = next;
        tensors = result;
    }

    private void checkOrder(Manifest next) throws Refused {
        if (manifest == null) {
            require(!next.isDelta(), "gap");
            return;
        }
        Version current = manifest.version();
        require(next.version().epoch() >= current.epoch(), "fenced");
        require(next.version().compareTo(current) > 0, "old");
        if (next.isDelta()) {
            require(next.version().equals(new Version(current.epoch(), current.sequence() + 1)), "gap");
            require(manifest.digest().equals(next.parentDigest()), "parent");
            require(manifest.inputs().equals(next.inputs()), "manifest");
        }
    }

    private static void checkProbes(Manifest next, Scorer scorer) throws Refused {
        for (Manifest.Probe each : next.probes()) {
            Manifest.Inputs inputs = next.inputs();
            boolean fits = each.numeric().size() == inputs.numeric().size()
                    && each.categorical().size() == inputs.categorical().size()
                    && each.numeric().stream().allMatch(Double::isFinite);
            require(fits && Math.abs(scorer.score(each.numeric(), each.categorical()) - each.score()) <= PROBE_TOLERANCE,
                    "probes");
        }
    }

    private static void require(boolean holds, String check) throws Refused {
        if (!holds) {
            throw new Refused(check, "it does not follow");
        }
    }
}
