package shop;

import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** An event, read from a CloudEvent in binary mode. Ignores headers and members that it does not know. */
record Event(
    UUID id, String source, String type, String stream, long revision, OffsetDateTime recordedAt, JsonNode data) {

  private static final JsonMapper JSON = new JsonMapper();

  static Event read(ConsumerRecord<byte[], byte[]> message) throws CannotRead {
    if (message.value() == null) {
      throw new CannotRead("it has no value");
    }
    try {
      return new Event(
          UUID.fromString(header(message, "ce_id")),
          header(message, "ce_source"),
          header(message, "ce_type"),
          header(message, "ce_subject"),
          Long.parseLong(header(message, "ce_revision")),
          OffsetDateTime.parse(header(message, "ce_time")),
          JSON.readTree(message.value()));
    } catch (IllegalArgumentException | DateTimeParseException | JacksonException problem) {
      throw new CannotRead(problem.toString());
    }
  }

  /** The UUID of the order or payment. */
  UUID streamId() throws CannotRead {
    try {
      return UUID.fromString(stream.substring(stream.indexOf('-') + 1));
    } catch (IllegalArgumentException problem) {
      throw new CannotRead(problem.toString());
    }
  }

  private static String header(ConsumerRecord<byte[], byte[]> message, String name) throws CannotRead {
    Header header = message.headers().lastHeader(name);
    if (header == null || header.value() == null) {
      throw new CannotRead("the header " + name + " is missing");
    }
    return new String(header.value(), StandardCharsets.UTF_8);
  }
}
