package follower;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Base64;
import java.util.Map;
import java.util.TreeMap;

/** Follows all models of the topic, and notes what becomes of every record. */
final class Follower {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final Map<String, Model> models = new TreeMap<>();
    private final Assembler assembler;
    private ArrayNode refused = JSON.arrayNode();

    Follower(KeyRing keys) {
        this.assembler = new Assembler(keys, refusal -> refused.add(refusal.check));
    }

    /** Takes the next record of a partition; tells what was refused and which version was applied. */
    ObjectNode read(byte[] key, byte[] value) {
        refused = JSON.arrayNode();
        String applied = null;
        Assembler.Update update = assembler.feed(key, value);
        if (update != null) {
            Model model = models.computeIfAbsent(update.manifest().model(), name -> new Model());
            if (apply(model, update)) {
                applied = model.version().toString();
            }
        }
        ObjectNode outcome = JSON.objectNode();
        outcome.set("refused", refused);
        return outcome.put("applied", applied);
    }

    private boolean apply(Model model, Assembler.Update update) {
        Manifest manifest = update.manifest();
        try {
            model.apply(update);
        } catch (Refused refusal) {
            if (refusal.check.equals("gap")) {
                model.hold(update);
            }
            refused.add(refusal.check);
            return false;
        }
        if (!manifest.isDelta()) {
            model.heldBehind(manifest.version()).forEach(each -> apply(model, each));
        }
        return true;
    }

    /** The newest versions. */
    ObjectNode current() {
        ObjectNode found = JSON.objectNode();
        models.forEach((name, model) -> {
            if (model.version() != null) {
                found.putObject(name)
                        .put("version", model.version().toString())
                        .put("answers", model.answers() == null ? null : model.answers().toString())
                        .put("digest", Digest.of(model.tensors()))
                        .set("tensors", describe(model.tensors()));
            }
        });
        return found;
    }

    /** The digest of the newest version of a model. */
    String digest(String model) {
        return Digest.of(models.get(model).tensors());
    }

    static ObjectNode describe(Map<String, Tensor> tensors) {
        ObjectNode described = JSON.objectNode();
        tensors.forEach((name, tensor) -> {
            ObjectNode one = described.putObject(name).put("dtype", tensor.dtype().name());
            ArrayNode shape = one.putArray("shape");
            for (long axis : tensor.shape()) {
                shape.add(axis);
            }
            one.put("data", Base64.getEncoder().encodeToString(tensor.data()));
        });
        return described;
    }
}
