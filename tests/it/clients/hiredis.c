/* hiredis, the C library, as most C programs and the extensions of many languages use it:
 *
 *     hiredis HOST:PORT [CA.pem]     exits 1 and says what differed
 *
 * RESP2, the library's default; then RESP3 where the library knows it (since 1.0). With a CA through TLS: redisSSL
 * where the library has it (since 1.0), else OpenSSL around the library's own formatter and reader. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <hiredis.h>
#if HIREDIS_MAJOR >= 1
#include <hiredis_ssl.h>
#else
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sds.h>
#endif

static const char *host, *ca;
static int port, resp = 2;

static void fail(const char *what, const char *got) {
    fprintf(stderr, "hiredis, RESP%d: %s: got \"%.300s\"\n", resp, what, got ? got : "(null)");
    exit(1);
}

/* ---- Connections ---------------------------------------------------------------------------------------- */

struct client {
    redisContext *c;
#if HIREDIS_MAJOR < 1
    SSL *ssl; /* NULL: plaintext, the library's own business. */
#endif
};

#if HIREDIS_MAJOR >= 1
static void encrypt(struct client *client) {
    redisSSLContextError error;
    redisInitOpenSSL();
    redisSSLContext *context = redisCreateSSLContext(ca, NULL, NULL, NULL, NULL, &error);
    if (!context) fail("redisCreateSSLContext", redisSSLContextGetError(error));
    if (redisInitiateSSLWithContext(client->c, context) != REDIS_OK) fail("TLS", client->c->errstr);
    redisFreeSSLContext(context);
}

static redisReply *take(struct client *client) {
    void *reply;
    if (redisGetReply(client->c, &reply) != REDIS_OK) fail("a reply", client->c->errstr);
    return reply;
}
#else
static void encrypt(struct client *client) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(context, ca, NULL) != 1) fail("the CA", ca);
    client->ssl = SSL_new(context);
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(client->ssl), host);
    SSL_set_fd(client->ssl, client->c->fd);
    if (SSL_connect(client->ssl) != 1) fail("TLS", "no handshake");
    SSL_CTX_free(context);
}

static redisReply *take(struct client *client) {
    void *reply = NULL;
    if (!client->ssl) {
        if (redisGetReply(client->c, &reply) != REDIS_OK) fail("a reply", client->c->errstr);
        return reply;
    }
    redisContext *c = client->c;
    if (sdslen(c->obuf) > 0) {
        if (SSL_write(client->ssl, c->obuf, (int)sdslen(c->obuf)) <= 0) fail("TLS", "cannot write");
        sdsclear(c->obuf);
    }
    for (;;) {
        static char bytes[16384];
        if (redisGetReplyFromReader(c, &reply) != REDIS_OK) fail("a reply", c->errstr);
        if (reply) return reply;
        int read = SSL_read(client->ssl, bytes, sizeof bytes);
        if (read <= 0) fail("a reply through TLS", "the end of the connection");
        redisReaderFeed(c->reader, bytes, (size_t)read);
    }
}
#endif

static redisReply *ask(struct client *client, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    redisvAppendCommand(client->c, format, arguments);
    va_end(arguments);
    return take(client);
}

static struct client dial(void) {
    struct client client = {0};
    struct timeval patience = {20, 0};
    client.c = redisConnectWithTimeout(host, port, patience);
    if (!client.c || client.c->err) fail("connecting", client.c ? client.c->errstr : strerror(errno));
    redisSetTimeout(client.c, patience);
    if (ca) encrypt(&client);
    if (resp == 3) {
        redisReply *hello = ask(&client, "HELLO 3");
#if HIREDIS_MAJOR >= 1
        if (hello->type != REDIS_REPLY_MAP) fail("HELLO 3", hello->str);
#endif
        freeReplyObject(hello);
    }
    return client;
}

static void hang_up(struct client *client) {
#if HIREDIS_MAJOR < 1
    SSL_free(client->ssl);
#endif
    redisFree(client->c);
}

/* ---- What a reply must be ------------------------------------------------------------------------------- */

static void text(redisReply *reply, const char *what, const char *wanted) {
    if (!reply->str || strcmp(reply->str, wanted) != 0) fail(what, reply->str);
    freeReplyObject(reply);
}

static void whole(redisReply *reply, const char *what, long long wanted) {
    char got[300];
    snprintf(got, sizeof got, "%lld %s", reply->integer, reply->str ? reply->str : "");
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer != wanted) fail(what, got);
    freeReplyObject(reply);
}

static void error(redisReply *reply, const char *what, const char *prefix) {
    if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, prefix, strlen(prefix)) != 0) fail(what, reply->str);
    freeReplyObject(reply);
}

/* An array (or, of messages in RESP3, a push) whose last element is this text. */
static void last(redisReply *reply, const char *what, size_t elements, const char *wanted) {
    if (reply->elements != elements) fail(what, reply->str ? reply->str : "another number of elements");
    redisReply *element = reply->element[elements - 1];
    if (!element->str || strcmp(element->str, wanted) != 0) fail(what, element->str);
    freeReplyObject(reply);
}

/* ---- The checks ----------------------------------------------------------------------------------------- */

static void plain_commands(struct client *c) {
    text(ask(c, "PING"), "PING", "PONG");
    text(ask(c, "SET hiredis:s %b", "two words", (size_t)9), "SET", "OK");
    text(ask(c, "GET hiredis:s"), "GET", "two words");
    redisReply *nothing = ask(c, "GET hiredis:none");
    if (nothing->type != REDIS_REPLY_NIL) fail("GET of nothing", nothing->str);
    freeReplyObject(nothing);
    error(ask(c, "LPUSH hiredis:s x"), "an error", "WRONGTYPE");
    error(ask(c, "NOSUCHCOMMAND"), "an unknown command", "ERR unknown command");
    freeReplyObject(ask(c, "DEL hiredis:h"));
    whole(ask(c, "HSET hiredis:h field value"), "HSET", 1);
    redisReply *map = ask(c, "HGETALL hiredis:h");
#if HIREDIS_MAJOR >= 1
    if (map->type != (resp == 3 ? REDIS_REPLY_MAP : REDIS_REPLY_ARRAY)) fail("the type of HGETALL", map->str);
#endif
    last(map, "HGETALL", 2, "value");
    /* Every write is seen by the next read of the same connection. */
    for (int n = 0; n < 300; n++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%d", n);
        text(ask(c, "SET hiredis:own %d", n), "SET of own", "OK");
        text(ask(c, "GET hiredis:own"), "GET of own", wanted);
    }
}

static void large_values(struct client *c) {
    static const size_t sizes[] = {1, 16383, 16384, 16385, 300000, 5000000};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        char *value = malloc(sizes[n]);
        for (size_t at = 0; at < sizes[n]; at++) value[at] = (char)(at * 31 + at / 251);
        text(ask(c, "SET hiredis:large %b", value, sizes[n]), "SET of a large value", "OK");
        redisReply *back = ask(c, "GET hiredis:large");
        if (back->len != sizes[n] || memcmp(back->str, value, sizes[n]) != 0) fail("GET of a large value", back->str);
        freeReplyObject(back);
        free(value);
    }
    freeReplyObject(ask(c, "DEL hiredis:large"));
}

static void pipelines(struct client *c) {
    freeReplyObject(ask(c, "DEL hiredis:count"));
    for (int n = 0; n < 5000; n++) {
        redisAppendCommand(c->c, "INCR hiredis:count");
        redisAppendCommand(c->c, "GET hiredis:count");
    }
    for (int n = 1; n <= 5000; n++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%d", n);
        whole(take(c), "INCR in a pipeline", n);
        text(take(c), "GET in a pipeline", wanted);
    }
    redisAppendCommand(c->c, "SET hiredis:s x");
    redisAppendCommand(c->c, "LPUSH hiredis:s y");
    redisAppendCommand(c->c, "GET hiredis:s");
    text(take(c), "before the error", "OK");
    error(take(c), "the error in its place", "WRONGTYPE");
    text(take(c), "after the error", "x");
}

static void transactions(struct client *c) {
    freeReplyObject(ask(c, "DEL hiredis:m"));
    /* One command at a time, as a program without a pipeline does it. */
    text(ask(c, "MULTI"), "MULTI", "OK");
    text(ask(c, "INCR hiredis:m"), "INCR in MULTI", "QUEUED");
    text(ask(c, "GET hiredis:m"), "GET in MULTI", "QUEUED");
    last(ask(c, "EXEC"), "EXEC", 2, "1");
    /* Another connection changes a watched key. */
    struct client other = dial();
    text(ask(c, "WATCH hiredis:m"), "WATCH", "OK");
    whole(ask(&other, "INCR hiredis:m"), "INCR elsewhere", 2);
    text(ask(c, "MULTI"), "MULTI after WATCH", "OK");
    text(ask(c, "SET hiredis:m lost"), "SET in MULTI", "QUEUED");
    redisReply *refused = ask(c, "EXEC");
    if (refused->type != REDIS_REPLY_NIL) fail("EXEC although a watched key had changed", refused->str);
    freeReplyObject(refused);
    text(ask(c, "GET hiredis:m"), "the watched key", "2");
    hang_up(&other);
}

static void databases(struct client *c) {
    freeReplyObject(ask(c, "DEL hiredis:d"));
    text(ask(c, "SELECT 3"), "SELECT 3", "OK");
    text(ask(c, "SET hiredis:d three"), "SET in 3", "OK");
    text(ask(c, "SELECT 0"), "SELECT 0", "OK");
    whole(ask(c, "EXISTS hiredis:d"), "EXISTS in 0", 0);
    error(ask(c, "SELECT 99999"), "SELECT 99999", "ERR");
    text(ask(c, "SELECT 3"), "SELECT 3 again", "OK");
    whole(ask(c, "DEL hiredis:d"), "DEL in 3", 1);
    text(ask(c, "SELECT 0"), "SELECT 0 again", "OK");
}

static void publishing(void) {
    struct client subscriber = dial(), publisher = dial();
#if HIREDIS_MAJOR >= 1
    /* RESP3's messages are pushes, which the library swallows unless it is told to return them in order. */
    redisSetPushCallback(subscriber.c, NULL);
#endif
    redisReply *confirmed = ask(&subscriber, "SUBSCRIBE hiredis:channel");
    if (confirmed->elements != 3) fail("SUBSCRIBE", confirmed->str);
    freeReplyObject(confirmed);
    whole(ask(&publisher, "PUBLISH hiredis:channel first"), "PUBLISH", 1);
    last(take(&subscriber), "a message", 3, "first");
    for (int n = 0; n < 1000; n++) redisAppendCommand(publisher.c, "PUBLISH hiredis:channel %d", n);
    for (int n = 0; n < 1000; n++) whole(take(&publisher), "PUBLISH in a pipeline", 1);
    for (int n = 0; n < 1000; n++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "%d", n);
        last(take(&subscriber), "messages in order", 3, wanted);
    }
    freeReplyObject(ask(&subscriber, "UNSUBSCRIBE hiredis:channel"));
    text(ask(&subscriber, "PING"), "PING after UNSUBSCRIBE", "PONG");
    freeReplyObject(ask(&subscriber, "PSUBSCRIBE hiredis:p*"));
    whole(ask(&publisher, "PUBLISH hiredis:pattern second"), "PUBLISH to a pattern", 1);
    last(take(&subscriber), "a message by pattern", 4, "second");
    hang_up(&subscriber);
    hang_up(&publisher);
}

static void waiting(struct client *c) {
    struct client other = dial();
    freeReplyObject(ask(c, "DEL hiredis:queue"));
    redisReply *nothing = ask(c, "BLPOP hiredis:queue 0.05");
    if (nothing->type != REDIS_REPLY_NIL) fail("BLPOP of nothing", nothing->str);
    freeReplyObject(nothing);
    redisAppendCommand(c->c, "BLPOP hiredis:queue 20");
    int done = 0;
    if (!ca) {
        while (!done) {
            if (redisBufferWrite(c->c, &done) != REDIS_OK) fail("sending BLPOP", c->c->errstr);
        }
    }
    whole(ask(&other, "RPUSH hiredis:queue job"), "RPUSH", 1);
    last(take(c), "BLPOP", 2, "job");
    hang_up(&other);
}

static void scripts(struct client *c) {
    redisReply *sha = ask(c, "SCRIPT LOAD %s", "return redis.call('GET', KEYS[1])");
    text(ask(c, "SET hiredis:script read"), "SET", "OK");
    for (int n = 0; n < 20; n++) {
        text(ask(c, "EVALSHA %s 1 hiredis:script", sha->str), "EVALSHA", "read");
        text(ask(c, "EVALSHA_RO %s 1 hiredis:script", sha->str), "EVALSHA_RO", "read");
    }
    freeReplyObject(sha);
    error(ask(c, "EVALSHA 0000000000000000000000000000000000000000 0"), "EVALSHA of no script", "NOSCRIPT");
}

static void scans(struct client *c) {
    freeReplyObject(ask(c, "DEL hiredis:members"));
    for (int n = 0; n < 1000; n++) redisAppendCommand(c->c, "SADD hiredis:members %d", n);
    for (int n = 0; n < 1000; n++) whole(take(c), "SADD", 1);
    char cursor[32] = "0", seen[1000] = {0};
    do {
        redisReply *page = ask(c, "SSCAN hiredis:members %s COUNT 50", cursor);
        if (page->elements != 2) fail("SSCAN", page->str);
        snprintf(cursor, sizeof cursor, "%s", page->element[0]->str);
        for (size_t n = 0; n < page->element[1]->elements; n++) seen[atoi(page->element[1]->element[n]->str) % 1000] = 1;
        freeReplyObject(page);
    } while (strcmp(cursor, "0") != 0);
    if (memchr(seen, 0, sizeof seen)) fail("SSCAN finds every member", "fewer");
}

int main(int count, char **words) {
    char *colon = count > 1 ? strrchr(words[1], ':') : NULL;
    if (!colon) {
        fprintf(stderr, "usage: hiredis HOST:PORT [CA.pem]\n");
        return 64;
    }
    *colon = 0;
    host = words[1];
    port = atoi(colon + 1);
    ca = count > 2 ? words[2] : NULL;
    for (resp = 2; resp <= (HIREDIS_MAJOR >= 1 ? 3 : 2); resp++) {
        struct client c = dial();
        plain_commands(&c);
        large_values(&c);
        pipelines(&c);
        transactions(&c);
        databases(&c);
        publishing();
        waiting(&c);
        scripts(&c);
        scans(&c);
        hang_up(&c);
    }
    printf("hiredis %d.%d: everything as it should be\n", HIREDIS_MAJOR, HIREDIS_MINOR);
    return 0;
}
