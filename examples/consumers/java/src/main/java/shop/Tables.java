package shop;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import java.util.UUID;
import tools.jackson.databind.JsonNode;

/**
 * What this consumer keeps: orders, sales and payments. Replace it by what your shop wants to know.
 *
 * <p>It runs inside the transaction that also stores the offset. It changes the database by this connection only, and
 * sends nothing elsewhere. So the rows of an event are stored exactly once, and sums may be added to.
 */
class Tables {
  private final Connection db;

  Tables(Connection db) {
    this.db = db;
  }

  /**
   * Ignores types that it does not know: later versions of Orderly add some. Earlier versions of a type need a label
   * each, because Orderly never rewrites what they have stored. Here they have every member that the method reads. If
   * one lacks a member, or names it otherwise, correct the data in its method.
   */
  void apply(Event event) throws SQLException, CannotRead {
    switch (event.type()) {
      case "order.placed.v1", "order.placed.v2" -> orderPlaced(event.data());
      case "order.allocated.v1" -> orderAllocated(event.streamId());
      case "order.rejected.v1" -> setStatus(event.streamId(), "rejected");
      case "order.cancelled.v1", "order.cancelled.v2" -> setStatus(event.streamId(), "cancelled");
      case "order.expired.v1" -> setStatus(event.streamId(), "expired");
      case "payment.requested.v1" -> paymentRequested(event.data());
      case "payment.captured.v1" -> addTo("captured", event);
      case "payment.refunded.v1" -> addTo("refunded", event);
      default -> {}
    }
  }

  private void orderPlaced(JsonNode order) throws SQLException {
    UUID orderId = UUID.fromString(order.required("order_id").stringValue());
    update(
        "INSERT INTO orders (order_id, status, currency, total, placed_at) VALUES (?, 'placed', ?, ?, ?)",
        orderId,
        order.required("currency").stringValue(),
        order.required("total").longValue(),
        OffsetDateTime.parse(order.required("placed_at").stringValue()));
    int number = 0;
    for (JsonNode line : order.required("lines")) {
      number += 1;
      update(
          "INSERT INTO order_lines (order_id, line, sku, quantity, unit_price) VALUES (?, ?, ?, ?, ?)",
          orderId,
          number,
          line.required("sku").stringValue(),
          line.required("quantity").longValue(),
          line.required("unit_price").longValue());
    }
  }

  /** The lines are there: earlier events of a stream come before later ones. */
  private void orderAllocated(UUID orderId) throws SQLException {
    setStatus(orderId, "allocated");
    update(
        """
        INSERT INTO sales (day, sku, currency, units, amount)
        SELECT (placed_at AT TIME ZONE 'UTC')::date, sku, currency, sum(quantity), sum(quantity * unit_price)
        FROM orders JOIN order_lines USING (order_id) WHERE order_id = ? GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (day, sku, currency) DO UPDATE
        SET units = sales.units + excluded.units, amount = sales.amount + excluded.amount""",
        orderId);
  }

  private void setStatus(UUID orderId, String status) throws SQLException {
    update("UPDATE orders SET status = ? WHERE order_id = ?", status, orderId);
  }

  private void paymentRequested(JsonNode payment) throws SQLException {
    update(
        "INSERT INTO payments (payment_id, order_id) VALUES (?, ?)",
        UUID.fromString(payment.required("payment_id").stringValue()),
        UUID.fromString(payment.required("order_id").stringValue()));
  }

  /** `column` is from the code above, never from an event. */
  private void addTo(String column, Event event) throws SQLException, CannotRead {
    update(
        "UPDATE payments SET %1$s = %1$s + ? WHERE payment_id = ?".formatted(column),
        event.data().required("amount").longValue(),
        event.streamId());
  }

  private void update(String sql, Object... parameters) throws SQLException {
    try (PreparedStatement statement = db.prepareStatement(sql)) {
      for (int index = 0; index < parameters.length; index++) {
        statement.setObject(index + 1, parameters[index]);
      }
      statement.executeUpdate();
    }
  }
}
