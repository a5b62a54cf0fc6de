package follower;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Follows a topic on a broker from its beginning to its present end. */
final class Topic {
    private Topic() {}

    static ObjectNode follow(String bootstrap, String topic, KeyRing keys) {
        ObjectNode found = JsonNodeFactory.instance.objectNode();
        ArrayNode outcomes = found.putArray("records");
        Follower follower = new Follower(keys);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(bootstrap)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(each -> new TopicPartition(topic, each.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(each -> consumer.position(each.getKey()) < each.getValue())) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    outcomes.add(read(follower, record));
                }
            }
        }
        found.set("models", follower.current());
        return found;
    }

    private static ObjectNode read(Follower follower, ConsumerRecord<byte[], byte[]> record) {
        ObjectNode outcome = follower.read(record.key(), record.value());
        if (!outcome.get("applied").isNull()) {
            String model = Text.decodeLeniently(record.key()).split("\\|")[0];
            outcome.put("model", model).put("digest", follower.digest(model));
        }
        return outcome.put("offset", record.offset());
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap) {
        Map<String, Object> settings = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap,
                ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }
}
