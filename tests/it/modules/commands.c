/* A module with one command of each kind, for tests: it counts calls and says what it was called. The few
 * declarations it needs stand here, so that no server's header has to be installed. */
#include <stddef.h>

typedef struct Context Context;
typedef struct String String;
typedef int (*Function)(Context *, String **, int);

static int (*get_api)(const char *, void *);
static void (*set_attributes)(Context *, const char *, int, int);
static int (*create_command)(Context *, const char *, Function, const char *, int, int, int);
static int (*reply_simple)(Context *, const char *);
static int (*reply_integer)(Context *, long long);
static int (*replicate_verbatim)(Context *);

static long long writes;

static int look(Context *context, String **arguments, int count) {
    (void)arguments, (void)count;
    return reply_simple(context, "looked");
}

static int put(Context *context, String **arguments, int count) {
    (void)arguments, (void)count;
    replicate_verbatim(context);
    return reply_integer(context, ++writes);
}

static int odd(Context *context, String **arguments, int count) {
    (void)arguments, (void)count;
    return reply_simple(context, "odd");
}

int RedisModule_OnLoad(Context *context, String **arguments, int count) {
    (void)arguments, (void)count;
    /* The server puts its lookup function in front of the context (redismodule.h, RedisModule_Init). */
    get_api = (int (*)(const char *, void *))((void **)context)[0];
    get_api("RedisModule_SetModuleAttribs", &set_attributes);
    get_api("RedisModule_CreateCommand", &create_command);
    get_api("RedisModule_ReplyWithSimpleString", &reply_simple);
    get_api("RedisModule_ReplyWithLongLong", &reply_integer);
    get_api("RedisModule_ReplicateVerbatim", &replicate_verbatim);
    set_attributes(context, "kinds", 1, 1);
    create_command(context, "kinds.look", look, "readonly", 0, 0, 0);
    create_command(context, "kinds.put", put, "write", 0, 0, 0);
    create_command(context, "kinds.odd", odd, "", 0, 0, 0);
    create_command(context, "kinds.steer", odd, "admin", 0, 0, 0);
    return 0;
}
