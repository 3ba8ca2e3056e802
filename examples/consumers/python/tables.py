"""What this consumer keeps: orders, sales and payments. Replace it by what your shop wants to know.

Each function gets the connection, inside the transaction that also stores the offset. It changes the database by that
connection only, and sends nothing elsewhere. So the rows of an event are stored exactly once, and sums may be added to.
"""


def apply(db, event):
    """Ignores types that it does not know: later versions of Orderly add some."""
    change = CHANGES.get(event.type)
    if change:
        change(db, event)


def order_placed(db, event):
    order = event.data
    db.execute(
        "INSERT INTO orders (order_id, status, currency, total, placed_at) VALUES (%s, 'placed', %s, %s, %s)",
        [order["order_id"], order["currency"], order["total"], order["placed_at"]],
    )
    for number, line in enumerate(order["lines"], start=1):
        db.execute(
            "INSERT INTO order_lines (order_id, line, sku, quantity, unit_price) VALUES (%s, %s, %s, %s, %s)",
            [order["order_id"], number, line["sku"], line["quantity"], line["unit_price"]],
        )


def order_allocated(db, event):
    """The lines are there: earlier events of a stream come before later ones."""
    set_status(db, event, "allocated")
    db.execute(
        """INSERT INTO sales (day, sku, currency, units, amount)
           SELECT (placed_at AT TIME ZONE 'UTC')::date, sku, currency, sum(quantity), sum(quantity * unit_price)
           FROM orders JOIN order_lines USING (order_id) WHERE order_id = %s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
           ON CONFLICT (day, sku, currency) DO UPDATE
           SET units = sales.units + excluded.units, amount = sales.amount + excluded.amount""",
        [event.stream_id],
    )


def order_rejected(db, event):
    set_status(db, event, "rejected")


def order_cancelled(db, event):
    set_status(db, event, "cancelled")


def order_expired(db, event):
    set_status(db, event, "expired")


def set_status(db, event, status):
    db.execute("UPDATE orders SET status = %s WHERE order_id = %s", [status, event.stream_id])


def payment_requested(db, event):
    payment = event.data
    db.execute(
        "INSERT INTO payments (payment_id, order_id) VALUES (%s, %s)", [payment["payment_id"], payment["order_id"]]
    )


def payment_captured(db, event):
    db.execute(
        "UPDATE payments SET captured = captured + %s WHERE payment_id = %s", [event.data["amount"], event.stream_id]
    )


def payment_refunded(db, event):
    db.execute(
        "UPDATE payments SET refunded = refunded + %s WHERE payment_id = %s", [event.data["amount"], event.stream_id]
    )


# Earlier versions of a type need an entry each, because Orderly never rewrites what they have stored. Here they have
# every member that the function reads. If one lacks a member, or names it otherwise, correct the data in its function.
CHANGES = {
    "order.placed.v1": order_placed,
    "order.placed.v2": order_placed,
    "order.allocated.v1": order_allocated,
    "order.rejected.v1": order_rejected,
    "order.cancelled.v1": order_cancelled,
    "order.cancelled.v2": order_cancelled,
    "order.expired.v1": order_expired,
    "payment.requested.v1": payment_requested,
    "payment.captured.v1": payment_captured,
    "payment.refunded.v1": payment_refunded,
}
