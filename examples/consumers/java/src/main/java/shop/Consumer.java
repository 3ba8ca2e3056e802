package shop;

import java.sql.SQLException;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Keeps tables in Postgres that follow the topics of Orderly exactly, through crashes and rebalances.
 *
 * <p>Run as many processes as you like: they share the partitions. Any error that is not one of a single message ends
 * the program; let a supervisor start it again. docs/events.md explains each rule.
 */
public class Consumer implements ConsumerRebalanceListener {
  private static final Logger LOG = LoggerFactory.getLogger(Consumer.class);
  private static final Duration POLL_TIME_MAX = Duration.ofSeconds(1);
  private static final int SESSION_TIMEOUT_MS = Integer.parseInt(setting("SESSION_TIMEOUT_MS", "10000"));

  private final KafkaConsumer<byte[], byte[]> kafka;
  private final Store store;
  /** The next offset of each partition that this process reads. */
  private final Map<TopicPartition, Long> positions = new HashMap<>();

  Consumer(KafkaConsumer<byte[], byte[]> kafka, Store store) {
    this.kafka = kafka;
    this.store = store;
    String prefix = setting("TOPIC_PREFIX", "orderly");
    kafka.subscribe(List.of(prefix + ".orders", prefix + ".payments"), this);
  }

  static Map<String, Object> settings() {
    return Map.of(
        ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, setting("KAFKA_BROKERS", "localhost:9092"),
        ConsumerConfig.GROUP_ID_CONFIG, setting("GROUP", "shop-tables"),
        // Hides the events of aborted transactions.
        ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
        // The group only shares the partitions: the offsets are in the database.
        ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
        // A topic that lacks the stored offset is another topic. Never jump.
        ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none",
        ConsumerConfig.PARTITION_ASSIGNMENT_STRATEGY_CONFIG, CooperativeStickyAssignor.class.getName(),
        ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, SESSION_TIMEOUT_MS,
        ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, SESSION_TIMEOUT_MS / 3,
        ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class,
        ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
  }

  private static String setting(String name, String otherwise) {
    return System.getenv().getOrDefault(name, otherwise);
  }

  @Override
  public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
    for (TopicPartition partition : partitions) {
      seek(partition);
    }
    LOG.info("reads {}", partitions);
  }

  /** Nothing is open: each batch was stored before the next call of `poll`. */
  @Override
  public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
    positions.keySet().removeAll(partitions);
    LOG.info("leaves {}", partitions);
  }

  private void seek(TopicPartition partition) {
    try {
      long offset = store.nextOffset(partition);
      positions.put(partition, offset);
      kafka.seek(partition, offset);
    } catch (SQLException problem) {
      throw new IllegalStateException("cannot read the offset of " + partition, problem);
    }
  }

  void poll() throws SQLException {
    try {
      ConsumerRecords<byte[], byte[]> fetched = kafka.poll(POLL_TIME_MAX);
      for (TopicPartition partition : fetched.partitions()) {
        storeAll(partition, fetched.records(partition));
      }
    } catch (OffsetOutOfRangeException problem) {
      for (TopicPartition partition : problem.partitions()) {
        stop(partition, "the topic lacks offset " + positions.get(partition) + ": it was made anew or lost events");
      }
    }
  }

  private void storeAll(TopicPartition partition, List<ConsumerRecord<byte[], byte[]>> messages) throws SQLException {
    try {
      storeBatch(partition, messages);
    } catch (Store.Unusable problem) {
      List<ConsumerRecord<byte[], byte[]>> before =
          messages.stream().filter(message -> message.offset() < problem.offset).toList();
      try {
        if (storeBatch(partition, before)) {
          stop(partition, problem.getMessage());
        }
      } catch (Store.Unusable earlier) {
        throw new IllegalStateException("a message can no longer be read", earlier);
      }
    }
  }

  /** False if another process has read on. */
  private boolean storeBatch(TopicPartition partition, List<ConsumerRecord<byte[], byte[]>> messages)
      throws SQLException, Store.Unusable {
    OptionalLong next = store.store(partition, positions.get(partition), messages);
    if (next.isPresent()) {
      positions.put(partition, next.getAsLong());
      return true;
    }
    // This process was silent for so long that another one has the partition, or a killed one has still committed.
    seek(partition);
    LOG.warn("another process has moved {}; reading from offset {}", partition, positions.get(partition));
    return false;
  }

  /** Reads no more of this partition, and goes on with the others. A restart tries again. */
  private void stop(TopicPartition partition, String reason) throws SQLException {
    LOG.error("stops {}: {}", partition, reason);
    store.stop(partition, reason);
    positions.remove(partition);
    kafka.pause(List.of(partition));
  }

  public static void main(String[] arguments) throws Exception {
    try (Store store = new Store(setting("DATABASE_URL", "jdbc:postgresql://localhost/shop"), SESSION_TIMEOUT_MS);
        // Its end leaves the group, so that the others take the partitions over at once.
        KafkaConsumer<byte[], byte[]> kafka = new KafkaConsumer<>(settings())) {
      Thread main = Thread.currentThread();
      Runtime.getRuntime()
          .addShutdownHook(
              new Thread(
                  () -> {
                    kafka.wakeup();
                    try {
                      main.join();
                    } catch (InterruptedException problem) {
                      Thread.currentThread().interrupt();
                    }
                  }));
      Consumer consumer = new Consumer(kafka, store);
      while (true) {
        consumer.poll();
      }
    } catch (WakeupException stopped) {
      LOG.info("has ended");
    }
  }
}
