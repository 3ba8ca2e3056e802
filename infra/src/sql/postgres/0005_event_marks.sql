-- The last event before each position: the JSON of an EventMark. NULL until the position moves again.
ALTER TABLE reactor_positions ADD COLUMN last_event text;
