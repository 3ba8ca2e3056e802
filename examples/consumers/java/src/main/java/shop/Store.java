package shop;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.DateTimeException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.core.JacksonException;

/** The database: stores the rows of a batch and the offset after it in one transaction. */
class Store implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(Store.class);

  private final Connection db;
  private final Tables tables;

  Store(String url, int sessionTimeoutMs) throws SQLException {
    db = DriverManager.getConnection(url);
    // Postgres undoes an open transaction of a frozen process or a lost machine. Its locks would stop the others.
    try (Statement statement = db.createStatement()) {
      statement.execute("SET idle_in_transaction_session_timeout = " + sessionTimeoutMs);
    }
    db.setAutoCommit(false);
    tables = new Tables(db);
  }

  /** The message at `offset` cannot be used. */
  static class Unusable extends Exception {
    final long offset;

    Unusable(long offset, Exception reason) {
      super("the message at offset " + offset + ": " + reason.getMessage(), reason);
      this.offset = offset;
    }
  }

  long nextOffset(TopicPartition partition) throws SQLException {
    try (PreparedStatement insert =
            db.prepareStatement("INSERT INTO partitions VALUES (?, ?, 0) ON CONFLICT DO NOTHING");
        PreparedStatement select =
            db.prepareStatement("SELECT next_offset FROM partitions WHERE topic = ? AND partition = ?")) {
      setPartition(insert, 1, partition);
      insert.executeUpdate();
      setPartition(select, 1, partition);
      try (ResultSet row = select.executeQuery()) {
        row.next();
        return row.getLong(1);
      }
    } finally {
      db.commit();
    }
  }

  /**
   * Returns the next offset. Empty if the stored one is not `expected`: then another process has read on, and this one
   * stores nothing.
   */
  OptionalLong store(TopicPartition partition, long expected, List<ConsumerRecord<byte[], byte[]>> messages)
      throws SQLException, Unusable {
    while (true) {
      try {
        OptionalLong next = storeRows(partition, expected, messages);
        db.commit();
        return next;
      } catch (SQLException problem) {
        // Two processes add to the same sums (deadlock, serialization failure). Nothing of the batch is stored.
        // Any other problem ends the program, and with it the transaction.
        if (!List.of("40P01", "40001").contains(String.valueOf(problem.getSQLState()))) {
          throw problem;
        }
        db.rollback();
        LOG.info("repeats a batch of {}: {}", partition, problem.getMessage());
      } catch (Unusable problem) {
        db.rollback();
        throw problem;
      }
    }
  }

  private OptionalLong storeRows(TopicPartition partition, long expected, List<ConsumerRecord<byte[], byte[]>> messages)
      throws SQLException, Unusable {
    long next;
    String source;
    // Locks the row until the commit, so another process that believes it has the partition waits here.
    try (PreparedStatement select =
        db.prepareStatement(
            "SELECT next_offset, source FROM partitions WHERE topic = ? AND partition = ? FOR UPDATE")) {
      setPartition(select, 1, partition);
      try (ResultSet row = select.executeQuery()) {
        row.next();
        next = row.getLong(1);
        source = row.getString(2);
      }
    }
    if (next != expected) {
      return OptionalLong.empty();
    }
    for (ConsumerRecord<byte[], byte[]> message : messages) {
      source = storeOne(message, source);
      next = message.offset() + 1;
    }
    try (PreparedStatement update =
        db.prepareStatement(
            "UPDATE partitions SET next_offset = ?, source = ?, stopped = NULL WHERE topic = ? AND partition = ?")) {
      update.setLong(1, next);
      update.setString(2, source);
      setPartition(update, 3, partition);
      update.executeUpdate();
    }
    return OptionalLong.of(next);
  }

  /** `source` is the event store of the topic, null before its first event. Returns it. */
  private String storeOne(ConsumerRecord<byte[], byte[]> message, String source) throws SQLException, Unusable {
    try {
      Event event = Event.read(message);
      if (source != null && !source.equals(event.source())) {
        throw new CannotRead("it is of the event store %s, those before it of %s".formatted(event.source(), source));
      }
      if (isNew(event)) {
        tables.apply(event);
      }
      return event.source();
    } catch (CannotRead | IllegalArgumentException | DateTimeException | JacksonException problem) {
      throw new Unusable(message.offset(), problem);
    } catch (SQLException problem) {
      // Classes 22 and 23: the database refuses this value. Any other problem is not one of the message.
      String state = String.valueOf(problem.getSQLState());
      if (state.startsWith("22") || state.startsWith("23")) {
        throw new Unusable(message.offset(), problem);
      }
      throw problem;
    }
  }

  /** False for a repetition. Refuses an event that cannot follow the stored ones. */
  private boolean isNew(Event event) throws SQLException, CannotRead {
    Map<Long, UUID> known = new HashMap<>();
    try (PreparedStatement select =
        db.prepareStatement("SELECT revision, event_id FROM events WHERE stream = ? AND revision BETWEEN ? AND ?")) {
      select.setString(1, event.stream());
      select.setLong(2, event.revision() - 1);
      select.setLong(3, event.revision());
      try (ResultSet rows = select.executeQuery()) {
        while (rows.next()) {
          known.put(rows.getLong(1), rows.getObject(2, UUID.class));
        }
      }
    }
    UUID repeated = known.get(event.revision());
    if (repeated != null && !repeated.equals(event.id())) {
      throw new CannotRead(
          "revision %d of %s was another event: the log went back".formatted(event.revision(), event.stream()));
    }
    if (repeated != null) {
      return false;
    }
    if (event.revision() > 0 && !known.containsKey(event.revision() - 1)) {
      throw new CannotRead("revision %d of %s is missing".formatted(event.revision() - 1, event.stream()));
    }
    try (PreparedStatement insert =
        db.prepareStatement(
            "INSERT INTO events (stream, revision, event_id, type, recorded_at) VALUES (?, ?, ?, ?, ?)")) {
      insert.setString(1, event.stream());
      insert.setLong(2, event.revision());
      insert.setObject(3, event.id());
      insert.setString(4, event.type());
      insert.setObject(5, event.recordedAt());
      insert.executeUpdate();
    }
    return true;
  }

  /** Says why no further message of the partition can be read. */
  void stop(TopicPartition partition, String reason) throws SQLException {
    try (PreparedStatement update =
        db.prepareStatement("UPDATE partitions SET stopped = ? WHERE topic = ? AND partition = ?")) {
      update.setString(1, reason);
      setPartition(update, 2, partition);
      update.executeUpdate();
    }
    db.commit();
  }

  private static void setPartition(PreparedStatement statement, int index, TopicPartition partition)
      throws SQLException {
    statement.setString(index, partition.topic());
    statement.setInt(index + 1, partition.partition());
  }

  @Override
  public void close() throws SQLException {
    db.close();
  }
}
