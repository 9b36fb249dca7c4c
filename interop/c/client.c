/* Drives the MQTTClient of libpaho-mqtt for the tests in the folder above:
 * commands come as JSON lines on stdin, events leave as JSON lines on stdout. */
#define _GNU_SOURCE
#include "json.h"

#include <MQTTClient.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { UNSEEN = -1, PATIENCE = 10 /* seconds */, MAX_FILTERS = 16 };

static MQTTClient client;
static int version;

/* What the library's thread tells the main thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int published_token, published_code;
static int over = 1; /* the end of the connection is known */

static void begin(const char *event)
{
	flockfile(stdout);
	printf("{\"event\":\"%s\"", event);
}

static void end(void)
{
	puts("}");
	fflush(stdout);
	funlockfile(stdout);
}

static void emit_code(const char *event, int code)
{
	begin(event);
	printf(",\"code\":%d", code);
	end();
}

static void fail(const char *what, int rc)
{
	begin("error");
	printf(",\"text\":\"%s: %d\"", what, rc);
	end();
}

/* ---- properties ---- */

static void add_text(MQTTProperties *all, enum MQTTPropertyCodes id, char *text)
{
	if (!text)
		return;
	MQTTProperty p = { .identifier = id };
	p.value.data.data = text;
	p.value.data.len = (int)strlen(text);
	MQTTProperties_add(all, &p); /* copies */
	free(text);
}

static void add_number(MQTTProperties *all, enum MQTTPropertyCodes id, long value)
{
	MQTTProperty p = { .identifier = id };
	p.value.integer4 = (unsigned int)value;
	MQTTProperties_add(all, &p);
}

static void add_user(MQTTProperties *all, const char *pair)
{
	char *key = string(first(pair)), *value = string(next(first(pair)));
	MQTTProperty p = { .identifier = MQTTPROPERTY_CODE_USER_PROPERTY };
	p.value.data.data = key;
	p.value.data.len = (int)strlen(key);
	p.value.value.data = value;
	p.value.value.len = (int)strlen(value);
	MQTTProperties_add(all, &p);
	free(key);
	free(value);
}

static MQTTProperties properties(const char *message)
{
	MQTTProperties all = MQTTProperties_initializer;
	for (const char *u = first(member(message, "user")); u; u = next(u))
		add_user(&all, u);
	add_text(&all, MQTTPROPERTY_CODE_CONTENT_TYPE, string(member(message, "content_type")));
	add_text(&all, MQTTPROPERTY_CODE_RESPONSE_TOPIC, string(member(message, "response")));
	if (member(message, "correlation")) {
		size_t length;
		MQTTProperty p = { .identifier = MQTTPROPERTY_CODE_CORRELATION_DATA };
		p.value.data.data = unhex(member(message, "correlation"), &length);
		p.value.data.len = (int)length;
		MQTTProperties_add(&all, &p);
		free(p.value.data.data);
	}
	if (member(message, "expiry"))
		add_number(&all, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, number(member(message, "expiry")));
	return all;
}

static void put_properties(MQTTProperties *all)
{
	const char *comma = "";
	printf(",\"user\":[");
	for (int i = 0; i < all->count; i++) {
		MQTTProperty *p = &all->array[i];
		if (p->identifier != MQTTPROPERTY_CODE_USER_PROPERTY)
			continue;
		printf("%s[", comma);
		put_string(p->value.data.data, (size_t)p->value.data.len);
		putchar(',');
		put_string(p->value.value.data, (size_t)p->value.value.len);
		putchar(']');
		comma = ",";
	}
	putchar(']');
	for (int i = 0; i < all->count; i++) {
		MQTTProperty *p = &all->array[i];
		switch (p->identifier) {
		case MQTTPROPERTY_CODE_CONTENT_TYPE:
			printf(",\"content_type\":");
			put_string(p->value.data.data, (size_t)p->value.data.len);
			break;
		case MQTTPROPERTY_CODE_RESPONSE_TOPIC:
			printf(",\"response\":");
			put_string(p->value.data.data, (size_t)p->value.data.len);
			break;
		case MQTTPROPERTY_CODE_CORRELATION_DATA:
			printf(",\"correlation\":");
			put_hex(p->value.data.data, (size_t)p->value.data.len);
			break;
		case MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL:
			printf(",\"expiry\":%u", p->value.integer4);
			break;
		default:
			break;
		}
	}
}

/* ---- what the library calls, on its own thread ---- */

static int arrived(void *context, char *topic, int topic_length, MQTTClient_message *m)
{
	(void)context;
	begin("message");
	printf(",\"topic\":");
	put_string(topic, topic_length > 0 ? (size_t)topic_length : strlen(topic));
	printf(",\"qos\":%d,\"retain\":%s,\"dup\":%s,\"payload\":", m->qos, m->retained ? "true" : "false", m->dup ? "true" : "false");
	put_hex(m->payload, (size_t)m->payloadlen);
	if (version == 5)
		put_properties(&m->properties);
	end();
	MQTTClient_freeMessage(&m);
	MQTTClient_free(topic);
	return 1;
}

static void gone(int code)
{
	pthread_mutex_lock(&lock);
	int known = over;
	over = 1;
	pthread_mutex_unlock(&lock);
	if (!known)
		emit_code("gone", code);
}

static void lost(void *context, char *cause)
{
	(void)context;
	(void)cause;
	gone(UNSEEN);
}

static void disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes code)
{
	(void)context;
	(void)properties;
	gone((int)code);
}

static void published(void *context, int token, int packet, MQTTProperties *properties, enum MQTTReasonCodes code)
{
	(void)context;
	(void)packet;
	(void)properties;
	pthread_mutex_lock(&lock);
	published_token = token;
	published_code = (int)code;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

/* ---- commands ---- */

static void create(const char *c)
{
	char *url = string(member(c, "url")), *id = string(member(c, "client_id"));
	MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
	create.MQTTVersion = version;
	MQTTClient_createWithOptions(&client, url, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
	MQTTClient_setCallbacks(client, NULL, lost, arrived, NULL);
	if (version == 5) {
		MQTTClient_setDisconnected(client, NULL, disconnected);
		MQTTClient_setPublished(client, NULL, published);
	}
	free(url);
	free(id);
}

/* The strings of a CONNECT live as long as the process: the library may keep
 * them. */
static void add_will(MQTTClient_connectOptions *o, MQTTClient_willOptions *will, const char *w)
{
	size_t length;
	if (!w)
		return;
	will->topicName = string(member(w, "topic"));
	will->payload.data = unhex(member(w, "payload"), &length);
	will->payload.len = (int)length;
	will->qos = (int)number(member(w, "qos"));
	will->retained = truth(member(w, "retain"));
	o->will = will;
}

static void add_tls(MQTTClient_connectOptions *o, MQTTClient_SSLOptions *tls, const char *c)
{
	if (!member(c, "ca"))
		return;
	tls->trustStore = string(member(c, "ca"));
	tls->keyStore = string(member(c, "cert"));
	tls->privateKey = string(member(c, "key"));
	tls->verify = 1;
	o->ssl = tls;
}

static int connect5(MQTTClient_connectOptions *o, const char *c)
{
	const char *w = member(c, "will");
	MQTTProperties p = MQTTProperties_initializer, will = MQTTProperties_initializer;
	add_number(&p, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, number(member(c, "session_expiry")));
	if (w) {
		will = properties(w);
		add_number(&will, MQTTPROPERTY_CODE_WILL_DELAY_INTERVAL, number(member(c, "will_delay")));
	}
	MQTTResponse r = MQTTClient_connect5(client, o, &p, w ? &will : NULL);
	int code = (int)r.reasonCode;
	MQTTResponse_free(r);
	return code;
}

static void connect_to(const char *c)
{
	MQTTClient_connectOptions three = MQTTClient_connectOptions_initializer;
	MQTTClient_connectOptions five = MQTTClient_connectOptions_initializer5;
	MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
	MQTTClient_willOptions will = MQTTClient_willOptions_initializer;

	version = (int)number(member(c, "version"));
	create(c);
	MQTTClient_connectOptions o = version == 5 ? five : three;
	o.MQTTVersion = version;
	o.keepAliveInterval = (int)number(member(c, "keep_alive"));
	o.connectTimeout = PATIENCE;
	o.username = string(member(c, "username"));
	o.password = string(member(c, "password"));
	if (version == 5)
		o.cleanstart = truth(member(c, "clean"));
	else
		o.cleansession = truth(member(c, "clean"));
	add_tls(&o, &tls, c);
	add_will(&o, &will, member(c, "will"));

	over = 0;
	int code = version == 5 ? connect5(&o, c) : MQTTClient_connect(client, &o);
	if (code < 0) {
		fail("connect", code);
		return;
	}
	begin("connected"); /* 5.0: the library keeps session present to itself */
	printf(",\"code\":%d,\"session\":%d", code, version == 5 ? UNSEEN : o.returned.sessionPresent);
	end();
}

static void emit_codes(const char *event, MQTTResponse *r, int count)
{
	begin(event);
	printf(",\"codes\":[");
	for (int i = 0; i < count; i++) /* a single one is not in the list */
		printf("%s%d", i ? "," : "", (int)(r->reasonCodes ? r->reasonCodes[i] : r->reasonCode));
	printf("]");
	end();
	MQTTResponse_free(*r);
}

static void subscribe(const char *c)
{
	char *filters[MAX_FILTERS];
	int qos[MAX_FILTERS], count = 0;
	for (const char *f = first(member(c, "filters")); f && count < MAX_FILTERS; f = next(f), count++) {
		filters[count] = string(member(f, "filter"));
		qos[count] = (int)number(member(f, "qos"));
	}
	MQTTResponse r = MQTTResponse_initializer;
	if (version == 5)
		r = MQTTClient_subscribeMany5(client, count, filters, qos, NULL, NULL);
	else
		r.reasonCode = MQTTClient_subscribeMany(client, count, filters, qos);
	if ((int)r.reasonCode < 0)
		fail("subscribe", (int)r.reasonCode);
	else
		emit_codes("subscribed", &r, version == 5 ? count : 0); /* 3.1.1: the library keeps the codes to itself */
	while (count > 0)
		free(filters[--count]);
}

static void unsubscribe(const char *c)
{
	char *filters[MAX_FILTERS];
	int count = 0;
	for (const char *f = first(member(c, "filters")); f && count < MAX_FILTERS; f = next(f))
		filters[count++] = string(f);
	MQTTResponse r = MQTTResponse_initializer;
	if (version == 5)
		r = MQTTClient_unsubscribeMany5(client, count, filters, NULL);
	else
		r.reasonCode = MQTTClient_unsubscribeMany(client, count, filters);
	if ((int)r.reasonCode < 0)
		fail("unsubscribe", (int)r.reasonCode);
	else
		emit_codes("unsubscribed", &r, version == 5 ? count : 0);
	while (count > 0)
		free(filters[--count]);
}

/* wait_published waits for the code of an acknowledgement. */
static int wait_published(int token)
{
	struct timespec deadline;
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += PATIENCE;
	int rc = 0;
	pthread_mutex_lock(&lock);
	while (published_token != token && rc == 0)
		rc = pthread_cond_timedwait(&changed, &lock, &deadline);
	int code = rc == 0 ? published_code : -rc;
	pthread_mutex_unlock(&lock);
	return code;
}

static void publish(const char *c)
{
	size_t length;
	int token = 0, rc;
	char *topic = string(member(c, "topic"));
	MQTTClient_message m = MQTTClient_message_initializer;
	m.payload = unhex(member(c, "payload"), &length);
	m.payloadlen = (int)length;
	m.qos = (int)number(member(c, "qos"));
	m.retained = truth(member(c, "retain"));
	published_token = 0; /* nothing is in flight */
	if (version == 5) {
		m.properties = properties(c);
		MQTTResponse r = MQTTClient_publishMessage5(client, topic, &m, &token);
		rc = (int)r.reasonCode;
		MQTTResponse_free(r);
		MQTTProperties_free(&m.properties);
	} else {
		rc = MQTTClient_publishMessage(client, topic, &m, &token);
	}
	free(topic);
	free(m.payload);
	int code = UNSEEN;
	if (rc == 0 && version == 5 && m.qos > 0)
		rc = code = wait_published(token);
	else if (rc == 0 && m.qos > 0)
		rc = MQTTClient_waitForCompletion(client, token, PATIENCE * 1000);
	if (rc < 0)
		fail("publish", rc);
	else
		emit_code("published", code);
}

static void disconnect(void)
{
	pthread_mutex_lock(&lock);
	over = 1;
	pthread_mutex_unlock(&lock);
	int rc = version == 5 ? MQTTClient_disconnect5(client, PATIENCE * 1000, MQTTREASONCODE_SUCCESS, NULL)
			      : MQTTClient_disconnect(client, PATIENCE * 1000);
	MQTTClient_destroy(&client);
	if (rc < 0)
		fail("disconnect", rc);
	else
		emit_code("disconnected", 0);
}

int main(void)
{
	char *line = NULL;
	size_t room = 0;
	MQTTClient_init_options init = MQTTClient_init_options_initializer;
	init.do_openssl_init = 1;
	MQTTClient_global_init(&init);
	while (getline(&line, &room, stdin) > 0) {
		char *verb = string(member(line, "do"));
		if (!strcmp(verb, "connect"))
			connect_to(line);
		else if (!strcmp(verb, "subscribe"))
			subscribe(line);
		else if (!strcmp(verb, "unsubscribe"))
			unsubscribe(line);
		else if (!strcmp(verb, "publish"))
			publish(line);
		else if (!strcmp(verb, "disconnect"))
			disconnect();
		else
			fail("unknown command", 0);
		free(verb);
	}
	return 0;
}
