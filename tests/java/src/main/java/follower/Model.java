package follower;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;

/** One model: the newest version, replaced as a whole by the next one that passes every check, and which one answers. */
final class Model {
    private static final double PROBE_TOLERANCE = 1e-6;
    private static final long HELD_BYTES_MAX = 256 << 20;

    private final Deque<Assembler.Update> held = new ArrayDeque<>();
    private long heldBytes;

    private Manifest manifest;
    private Map<String, Tensor> tensors;
    private Version answers;

    /** The newest version, or null. */
    Version version() {
        return manifest == null ? null : manifest.version();
    }

    /** The newest version that is not withheld, or null. A server would keep its tensors, too. */
    Version answers() {
        return answers;
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
        if (next.withheld().isEmpty()) {
            answers = next.version();
        }
    }

    /** Keeps a delta that there is a gap before: it may follow a base that is not complete yet. */
    void hold(Assembler.Update delta) {
        held.addLast(delta);
        heldBytes += delta.manifest().payloadBytes();
        while (heldBytes > HELD_BYTES_MAX) {
            heldBytes -= held.removeFirst().manifest().payloadBytes();
        }
    }

    /** What was kept of the versions after this one in its epoch, in order. */
    List<Assembler.Update> heldBehind(Version base) {
        List<Assembler.Update> found = held.stream()
                .filter(each -> each.manifest().version().epoch() == base.epoch())
                .filter(each -> each.manifest().version().compareTo(base) > 0)
                .toList();
        held.clear();
        heldBytes = 0;
        return found;
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
