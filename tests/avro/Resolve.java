// What the Avro project's Java library makes of values: lines of {"writer", "reader", "value"} come in, the value in
// hexadecimal digits; of each goes out the value as the reader's schema writes it, or "!" and the reason.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

public class Resolve {
    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var json = new ObjectMapper();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode asked = json.readTree(line);
            System.out.println(resolved(
                new Schema.Parser().parse(asked.get("writer").toString()),
                new Schema.Parser().parse(asked.get("reader").toString()),
                HexFormat.of().parseHex(asked.get("value").asText())));
        }
    }

    private static String resolved(Schema writer, Schema reader, byte[] value) {
        try {
            Object datum = new GenericDatumReader<Object>(writer, reader)
                .read(null, DecoderFactory.get().binaryDecoder(value, null));
            var bytes = new ByteArrayOutputStream();
            var encoder = EncoderFactory.get().binaryEncoder(bytes, null);
            new GenericDatumWriter<Object>(reader).write(datum, encoder);
            encoder.flush();
            return HexFormat.of().formatHex(bytes.toByteArray());
        } catch (Exception error) {
            return "!" + String.valueOf(error.getMessage()).lines().findFirst().orElse("");
        }
    }
}
