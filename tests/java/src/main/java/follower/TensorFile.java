package follower;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/** Reads safetensors files; everything is checked before a tensor is built. */
final class TensorFile {
    private static final int TENSORS_MAX = 10_000;
    private static final int HEADER_BYTES_MAX = 4 << 20;
    private static final int NAME_CHARS_MAX = 256;
    private static final int AXES_MAX = 8;
    private static final String METADATA = "__metadata__";
    private static final Set<String> FIELDS = Set.of("dtype", "shape", "data_offsets");
    private static final ObjectMapper JSON = new ObjectMapper(
                    JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build())
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    private record Entry(String name, DType dtype, long[] shape, long start, long end) {}

    private TensorFile() {}

    static Map<String, Tensor> read(byte[] file) throws Refused {
        require(file.length >= 8, "too short for a header");
        long length = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN).getLong();
        require(length >= 0 && length <= HEADER_BYTES_MAX && length <= file.length - 8, "length of the header");
        int body = 8 + (int) length;
        List<Entry> entries = entries(parse(Arrays.copyOfRange(file, 8, body)));
        checkCover(entries, file.length - body);
        Map<String, Tensor> tensors = new TreeMap<>();
        for (Entry each : entries) {
            byte[] data = Arrays.copyOfRange(file, body + (int) each.start, body + (int) each.end);
            require(each.dtype != DType.BOOL || areTruthValues(data), each.name + " is neither 0 nor 1");
            tensors.put(each.name, new Tensor(each.dtype, each.shape, data));
        }
        return tensors;
    }

    private static JsonNode parse(byte[] header) throws Refused {
        try {
            JsonNode root = JSON.readTree(Text.decode(header));
            require(root.isObject(), "the header is no object");
            return root;
        } catch (CharacterCodingException | JsonProcessingException error) {
            throw new Refused("tensors", "the header is not JSON in UTF-8");
        }
    }

    private static List<Entry> entries(JsonNode header) throws Refused {
        List<Entry> entries = new ArrayList<>();
        for (Map.Entry<String, JsonNode> each : header.properties()) {
            if (each.getKey().equals(METADATA)) {
                checkMetadata(each.getValue());
            } else {
                entries.add(entry(each.getKey(), each.getValue()));
            }
        }
        require(entries.size() <= TENSORS_MAX, "too many tensors");
        return entries;
    }

    private static void checkMetadata(JsonNode metadata) throws Refused {
        require(metadata.isObject() && metadata.size() <= 1, "metadata");
        for (JsonNode each : metadata) {
            require(each.isTextual(), "metadata");
        }
    }

    private static Entry entry(String name, JsonNode fields) throws Refused {
        int length = name.codePointCount(0, name.length());
        require(length >= 1 && length <= NAME_CHARS_MAX && Text.isPrintable(name), "a tensor's name");
        require(fields.isObject() && new TreeSet<>(names(fields)).equals(new TreeSet<>(FIELDS)), name + ": fields");
        DType dtype = fields.get("dtype").isTextual() ? DType.named(fields.get("dtype").textValue()) : null;
        require(dtype != null, name + ": dtype");
        long[] shape = naturals(fields.get("shape"));
        long[] offsets = naturals(fields.get("data_offsets"));
        require(shape.length <= AXES_MAX && offsets.length == 2, name + ": axes or offsets");
        BigInteger size = BigInteger.valueOf(dtype.bytes);
        boolean isEmpty = false;
        for (long axis : shape) {
            isEmpty |= axis == 0;
            size = axis == 0 ? size : size.multiply(BigInteger.valueOf(axis));
        }
        require(size.bitLength() <= 63, name + ": shape");
        require(offsets[1] - offsets[0] == (isEmpty ? 0 : size.longValueExact()), name + ": bytes");
        return new Entry(name, dtype, shape, offsets[0], offsets[1]);
    }

    private static List<String> names(JsonNode object) {
        List<String> names = new ArrayList<>();
        object.fieldNames().forEachRemaining(names::add);
        return names;
    }

    private static long[] naturals(JsonNode list) throws Refused {
        require(list.isArray(), "not a list");
        long[] numbers = new long[list.size()];
        for (int index = 0; index < numbers.length; index++) {
            JsonNode each = list.get(index);
            require(each.isIntegralNumber() && each.canConvertToLong(), "not a natural number");
            numbers[index] = each.longValue();
            require(numbers[index] >= 0 && numbers[index] < 1L << 53, "not a natural number");
        }
        return numbers;
    }

    private static void checkCover(List<Entry> entries, long bodyBytes) throws Refused {
        long position = 0;
        List<Entry> sorted = new ArrayList<>(entries);
        sorted.sort(Comparator.comparingLong(Entry::start).thenComparingLong(Entry::end));
        for (Entry each : sorted) {
            require(each.start == position, each.name + ": a gap or an overlap");
            position = each.end;
        }
        require(position == bodyBytes, "the tensors do not fill the file");
    }

    private static boolean areTruthValues(byte[] data) {
        for (byte each : data) {
            if (each != 0 && each != 1) {
                return false;
            }
        }
        return true;
    }

    private static void require(boolean holds, String what) throws Refused {
        if (!holds) {
            throw new Refused("tensors", what);
        }
    }
}
