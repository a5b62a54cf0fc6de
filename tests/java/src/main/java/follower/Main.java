package follower;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** A follower of model updates made from schemas/MODELS.md; prints what it found as JSON. */
public final class Main {
    private static final String USAGE = "usage: vectors FOLDER | topic BOOTSTRAP TOPIC KEYS_FOLDER";

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        out.println(run(arguments));
    }

    private static JsonNode run(String[] arguments) throws Exception {
        if (arguments.length == 2 && arguments[0].equals("vectors")) {
            return Vectors.answer(Path.of(arguments[1]));
        }
        if (arguments.length == 4 && arguments[0].equals("topic")) {
            return Topic.follow(arguments[1], arguments[2], KeyRing.ofFolder(Path.of(arguments[3])));
        }
        throw new IllegalArgumentException(USAGE);
    }
}
