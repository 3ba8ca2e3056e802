mod query_api;
