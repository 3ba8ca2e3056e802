// Compiles, with all checks of TypeScript, against the types that openapi-typescript generates. It is not run.
import createClient from "openapi-fetch";
import type { components, paths } from "./orderly.js";

const orderly = createClient<paths, "application/json" | "application/problem+json">({ baseUrl: "https://orders.example", headers: { Authorization: "Bearer key" } });

type OrderAnswer = components["schemas"]["OrderAnswer"];
type Status = components["schemas"]["OrderStatus"];

export async function placePaidOrder(key: string): Promise<OrderAnswer> {
  const { data, error } = await orderly.POST("/v1/orders", {
    params: { header: { "Idempotency-Key": key } },
    body: {
      currency: "GBP",
      lines: [{ sku: "85123A", quantity: 6, unit_price: 255 }],
      payment: { method: "ok" },
    },
  });
  if (error !== undefined) {
    if (error.code === "insufficient_stock") {
      const missing = (error.shortages ?? []).map((shortage) => shortage.requested - shortage.available);
      throw new Error(`too little stock: ${missing.join(", ")}`);
    }
    throw new Error((error.errors ?? []).map((fault) => `${fault.pointer ?? fault.field}: ${fault.message}`).join("\n"));
  }
  return data;
}

export async function shipAndReturn(order: OrderAnswer): Promise<string | null> {
  const path = { id: order.order_id };
  const shipped = await orderly.POST("/v1/orders/{id}/shipments", {
    params: { path, header: { "Idempotency-Key": `ship ${order.order_id}` } },
  });
  const returned = await orderly.POST("/v1/orders/{id}/returns", {
    params: { path, header: { "Idempotency-Key": `return ${order.order_id}` } },
    body: { lines: [{ line: 1, quantity: 1, restock: true }], reason: "too many" },
  });
  const revision: number | undefined = returned.data?.revision;
  const read = await orderly.GET("/v1/orders/{id}", {
    params: { path, query: revision === undefined ? {} : { min_revision: revision } },
  });
  // A member that is always present can be read without a check, also if it may be null.
  const customer: string | null | undefined = read.data?.customer_id;
  const status: Status | undefined = shipped.data?.status;
  return customer ?? status ?? null;
}

export async function allOrders(status: Status): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const query: { status: Status[]; cursor?: string } =
      cursor === null ? { status: [status] } : { status: [status], cursor };
    const page: { data?: components["schemas"]["OrderSummaryList"] } =
      await orderly.GET("/v1/orders", { params: { query } });
    ids.push(...(page.data?.items ?? []).map((order) => order.order_id));
    cursor = page.data?.next_cursor ?? null;
  } while (cursor !== null);
  return ids;
}

// @ts-expect-error: an order without lines does not compile.
export const incomplete: components["schemas"]["PlaceOrderRequest"] = { currency: "GBP" };
// @ts-expect-error: a misspelt status does not compile.
export const misspelt: Status = "alocated";
