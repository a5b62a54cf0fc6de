package follower;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Answers test vectors: for each file what a follower makes of `given`, in the form of `expected`, which it never reads. */
final class Vectors {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private Vectors() {}

    static ObjectNode answer(Path folder) throws IOException, GeneralSecurityException {
        ObjectMapper mapper = new ObjectMapper();
        ObjectNode answers = JSON.objectNode();
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*.json")) {
            for (Path file : files) {
                String name = file.getFileName().toString();
                answers.set(name, answer(name, mapper.readTree(file.toFile()).get("given")));
            }
        }
        return answers;
    }

    private static JsonNode answer(String name, JsonNode given) throws GeneralSecurityException {
        return switch (name) {
            case "digests.json" -> digests(given);
            case "tensor-files.json" -> tensorFiles(given);
            case "signatures.json" -> signatures(given);
            case "hashes.json" -> hashes(given);
            case "scores.json" -> scores(given);
            default -> history(given);
        };
    }

    private static JsonNode digests(JsonNode sets) {
        ArrayNode found = JSON.arrayNode();
        sets.forEach(each -> found.add(Digest.of(tensors(each))));
        return found;
    }

    private static JsonNode tensorFiles(JsonNode files) {
        ArrayNode found = JSON.arrayNode();
        for (JsonNode each : files) {
            try {
                found.addObject().set("tensors", Follower.describe(TensorFile.read(bytes(each))));
            } catch (Refused refused) {
                ((ObjectNode) found.get(found.size() - 1)).put("refused", refused.check);
            }
        }
        return found;
    }

    private static JsonNode signatures(JsonNode given) throws GeneralSecurityException {
        KeyRing keys = keys(given.get("keys"));
        ArrayNode found = JSON.arrayNode();
        for (JsonNode each : given.get("signed")) {
            byte[] manifest = bytes(each.get("manifest"));
            ObjectNode one = found.addObject();
            one.put("pae", Base64.getEncoder().encodeToString(KeyRing.preAuthenticationEncoding(manifest)));
            try {
                keys.verify(manifest, each.get("key_id").textValue(), bytes(each.get("signature")));
                one.putNull("refused");
            } catch (Refused refused) {
                one.put("refused", refused.check);
            }
        }
        return found;
    }

    private static JsonNode hashes(JsonNode pairs) {
        ArrayNode found = JSON.arrayNode();
        pairs.forEach(each -> found.add(
                Long.toUnsignedString(Scorer.hash(each.get(0).textValue(), each.get(1).textValue()))));
        return found;
    }

    private static JsonNode scores(JsonNode models) {
        ArrayNode found = JSON.arrayNode();
        for (JsonNode each : models) {
            Manifest.Inputs inputs = new Manifest.Inputs(
                    each.get("learner").textValue(),
                    "",
                    texts(each.get("numeric")),
                    texts(each.get("categorical")),
                    List.of(),
                    List.of());
            ArrayNode scores = found.addArray();
            try {
                Scorer scorer = Scorer.of(inputs, tensors(each.get("tensors")));
                for (JsonNode input : each.get("inputs")) {
                    double score = scorer.score(numbers(input.get("numeric")), texts(input.get("categorical")));
                    scores.add(Math.rint(score * 1e6) / 1e6);
                }
            } catch (Refused refused) {
                scores.add(refused.check);
            }
        }
        return found;
    }

    private static JsonNode history(JsonNode given) throws GeneralSecurityException {
        Follower follower = new Follower(keys(given.get("keys")));
        ObjectNode found = JSON.objectNode();
        ArrayNode outcomes = found.putArray("records");
        for (JsonNode each : given.get("records")) {
            JsonNode key = each.get("key");
            outcomes.add(follower.read(key.isNull() ? null : Text.encode(key.textValue()), bytes(each.get("value"))));
        }
        found.set("models", follower.current());
        return found;
    }

    private static KeyRing keys(JsonNode pems) throws GeneralSecurityException {
        KeyRing keys = new KeyRing();
        for (Map.Entry<String, JsonNode> each : pems.properties()) {
            keys.add(each.getKey(), each.getValue().textValue());
        }
        return keys;
    }

    private static Map<String, Tensor> tensors(JsonNode described) {
        Map<String, Tensor> tensors = new TreeMap<>();
        for (Map.Entry<String, JsonNode> each : described.properties()) {
            JsonNode tensor = each.getValue();
            long[] shape = new long[tensor.get("shape").size()];
            for (int axis = 0; axis < shape.length; axis++) {
                shape[axis] = tensor.get("shape").get(axis).longValue();
            }
            DType dtype = DType.named(tensor.get("dtype").textValue());
            tensors.put(each.getKey(), new Tensor(dtype, shape, bytes(tensor.get("data"))));
        }
        return tensors;
    }

    private static byte[] bytes(JsonNode base64) {
        return base64.isNull() ? null : Base64.getDecoder().decode(base64.textValue());
    }

    private static List<String> texts(JsonNode list) {
        List<String> texts = new ArrayList<>();
        list.forEach(each -> texts.add(each.textValue()));
        return texts;
    }

    private static List<Double> numbers(JsonNode list) {
        List<Double> numbers = new ArrayList<>();
        list.forEach(each -> numbers.add(each.doubleValue()));
        return numbers;
    }
}
