/* As much JSON as the driver's commands need: the input is one line which Go's
 * encoder wrote, so it is well formed. A value is a pointer to its first byte. */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>

/* member returns the value of key in an object, or NULL. */
const char *member(const char *object, const char *key);

/* first and next walk an array; NULL is its end. */
const char *first(const char *array);
const char *next(const char *element);

/* All may be given NULL, which is 0, or no string. The caller frees. */
long number(const char *value);
int truth(const char *value);
char *string(const char *value);
char *unhex(const char *value, size_t *length);

/* They write a value to stdout. */
void put_string(const char *bytes, size_t length);
void put_hex(const void *bytes, size_t length);

#endif
