-- Sales are summed by the quarter hour, so that the days of every time zone are sums of rows.
ALTER TYPE sales_span ADD VALUE 'quarter_hour';
