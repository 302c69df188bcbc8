// Sends tasks to processor: Avro in single-object encoding, keyed by session.
//
//   mvn -q dependency:copy-dependencies -DoutputDirectory=jars
//   java -cp 'jars/*' TaskProducer.java HOST:PORT TOPIC [CREATED_AT]

import java.io.File;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.message.BinaryMessageEncoder;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteBufferSerializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class TaskProducer {
    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 2) {
            throw new IllegalArgumentException("usage: TaskProducer.java HOST:PORT TOPIC [CREATED_AT]");
        }
        long createdAt = arguments.length > 2 ? Long.parseLong(arguments[2]) : System.currentTimeMillis();
        Schema schema = new Schema.Parser().parse(new File("task.avsc")); // schemas/task.avsc of processor
        // A BinaryMessageEncoder writes single-object encoding.
        var encoder = new BinaryMessageEncoder<GenericRecord>(GenericData.get(), schema);

        // The defaults are right: murmur2 of the key, idempotence, acknowledgement by all in-sync replicas.
        Map<String, Object> config = Map.of("bootstrap.servers", arguments[0]);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new ByteBufferSerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            for (int number = 0; number < 50; number++) {
                String session = "session-" + number;
                String payload = "{\"amount\":" + number + "}";
                GenericRecord task = new GenericRecordBuilder(schema)
                    .set("id", "t-" + number)
                    .set("session_id", session)
                    .set("name", "charge")
                    .set("payload", ByteBuffer.wrap(payload.getBytes(StandardCharsets.UTF_8)))
                    .set("content_type", "application/json")
                    .set("headers", Map.of())
                    .set("created_at", createdAt)
                    .build();
                sent.add(producer.send(new ProducerRecord<>(arguments[1], session, encoder.encode(task))));
            }
            for (Future<?> acknowledged : sent) {
                acknowledged.get();
            }
        }
    }
}
