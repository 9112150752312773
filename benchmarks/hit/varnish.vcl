# Varnish before the same origin: objects in memory, found by URL, kept for the whole run.
# ${…} is filled in by benchmarks/hit/servers.py.
vcl 4.1;
backend default { .host = "${origin_host}"; .port = "${origin_port}"; }
sub vcl_recv {
    return (hash);
}
sub vcl_backend_response {
    set beresp.ttl = 10h;
    unset beresp.http.Vary;
    return (deliver);
}
