-- Sales are summed by the quarter hour, so that the days of every time zone are sums of rows.
ALTER TYPE sales_span RENAME VALUE 'hour' TO 'quarter_hour';
