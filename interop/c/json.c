#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_string(const char *p)
{
	for (p++; *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p + 1;
}

static const char *skip(const char *p)
{
	int depth = 0;
	do {
		if (*p == '"') {
			p = skip_string(p);
			continue;
		}
		if (*p == '{' || *p == '[')
			depth++;
		if (*p == '}' || *p == ']')
			depth--;
		p++;
	} while (depth > 0 || (*p != ',' && *p != '}' && *p != ']'));
	return p;
}

const char *member(const char *object, const char *key)
{
	size_t length = strlen(key);
	const char *p = object + 1;
	while (*p == '"') {
		const char *name = p + 1, *value = skip_string(p) + 1;
		if (strncmp(name, key, length) == 0 && name[length] == '"')
			return value;
		p = skip(value);
		if (*p == ',')
			p++;
	}
	return NULL;
}

const char *first(const char *array)
{
	return array && array[1] != ']' ? array + 1 : NULL;
}

const char *next(const char *element)
{
	const char *p = skip(element);
	return *p == ',' ? p + 1 : NULL;
}

long number(const char *value)
{
	return value ? strtol(value, NULL, 10) : 0;
}

int truth(const char *value)
{
	return value && *value == 't';
}

/* Go escapes no other characters than control characters as \u00XX. */
static char unescape(const char **p)
{
	char digits[5] = "";
	switch (**p) {
	case 'b': return '\b';
	case 'f': return '\f';
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	case 'u':
		memcpy(digits, *p + 1, 4);
		*p += 4;
		return (char)strtol(digits, NULL, 16);
	}
	return **p;
}

char *string(const char *value)
{
	if (!value)
		return NULL;
	char *text = malloc(strlen(value)), *end = text;
	for (const char *p = value + 1; *p != '"'; p++) {
		if (*p == '\\') {
			p++;
			*end++ = unescape(&p);
			continue;
		}
		*end++ = *p;
	}
	*end = 0;
	return text;
}

static int nibble(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

char *unhex(const char *value, size_t *length)
{
	*length = 0;
	if (!value)
		return NULL;
	*length = (size_t)(skip_string(value) - value - 2) / 2;
	char *bytes = malloc(*length + 1);
	for (size_t i = 0; i < *length; i++)
		bytes[i] = (char)(nibble(value[1 + 2 * i]) << 4 | nibble(value[2 + 2 * i]));
	return bytes;
}

void put_string(const char *bytes, size_t length)
{
	putchar('"');
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (c < ' ' || c == '"' || c == '\\')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

void put_hex(const void *bytes, size_t length)
{
	putchar('"');
	for (size_t i = 0; i < length; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
	putchar('"');
}
