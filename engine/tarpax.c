/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the records of pax headers strictly, and writes the few that matter anew. So libarchive
 * sees none of the others (times, owners, ACLs, extended attributes: all are dropped at admission),
 * it takes names as bytes (hdrcharset=BINARY: it would otherwise compose what is decomposed and
 * lose what is no UTF-8), and a link's target never turns a file into a link.
 * pax(1), and "Extended tar formats" in the manual of GNU tar.
 */
#include "engine/tarpax.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Enough for the length and the key of a record that tarpax_write writes. */
#define RECORD_HEAD ((size_t)32)

struct record {
	const uint8_t *begin; /* with its length */
	size_t length;
	const char *key;
	size_t key_length;
	const char *value;
	size_t value_length;
};

void tarpax_reset(struct tarpax *pax)
{
	pax->given = false;
	pax->has_size = false;
	pax->sparse_name = false;
	pax->path_length = 0;
	pax->target_length = 0;
	pax->sparse_length = 0;
}

void tarpax_free(struct tarpax *pax)
{
	free(pax->sparse);
}

static int malformed(struct reason *reason)
{
	return reason_set(reason, EBADMSG, "archive_corrupt",
			  "an extended header of the tar archive is malformed");
}

/* "LENGTH KEY=VALUE\n", the length being that of the whole record. */
static int parse_record(const uint8_t *bytes, size_t left, struct record *record,
			struct reason *reason)
{
	size_t length = 0, at = 0;
	const char *equals;

	while (at < left && at < 8 && bytes[at] >= '0' && bytes[at] <= '9')
		length = length * 10 + (size_t)(bytes[at++] - '0');
	if (at == 0 || at >= left || bytes[at] != ' ' || length > left || length < at + 3 ||
	    bytes[length - 1] != '\n')
		return malformed(reason);
	record->begin = bytes;
	record->length = length;
	record->key = (const char *)bytes + at + 1;
	equals = memchr(record->key, '=', length - at - 2);
	if (!equals || equals == record->key)
		return malformed(reason);
	record->key_length = (size_t)(equals - record->key);
	record->value = equals + 1;
	record->value_length = length - at - 2 - record->key_length - 1;
	return memchr(record->key, 0, record->key_length) ? malformed(reason) : 0;
}

static bool key_is(const struct record *record, const char *key)
{
	return record->key_length == strlen(key) &&
	       memcmp(record->key, key, record->key_length) == 0;
}

static bool key_begins(const struct record *record, const char *prefix)
{
	return record->key_length >= strlen(prefix) &&
	       memcmp(record->key, prefix, strlen(prefix)) == 0;
}

static int take_name(char *name, size_t *ret_length, const char *value, size_t length,
		     struct reason *reason)
{
	int result = 0;

	if (memchr(value, 0, length))
		result = reason_set(reason, EINVAL, "name_invalid",
				    "a name in the archive holds a NUL byte");
	else if (length > WALK_NAME_MAX)
		result = reason_set(reason, EINVAL, "name_invalid",
				    "a name in the archive has more than %zu bytes", WALK_NAME_MAX);
	if (result < 0) {
		reason_name_entry(reason, value, length);
		return result;
	}
	memcpy(name, value, length);
	*ret_length = length;
	return 0;
}

static int take_size(struct tarpax *pax, const struct record *record, struct reason *reason)
{
	uint64_t size = 0;

	if (record->value_length == 0 || record->value_length > 18)
		return malformed(reason);
	for (size_t i = 0; i < record->value_length; i++) {
		if (record->value[i] < '0' || record->value[i] > '9')
			return malformed(reason);
		size = size * 10 + (uint64_t)(record->value[i] - '0');
	}
	pax->has_size = true;
	pax->size = size;
	return 0;
}

static int keep_sparse(struct tarpax *pax, const struct record *record, struct reason *reason)
{
	size_t need = pax->sparse_length + record->length;

	if (memchr(record->value, 0, record->value_length))
		return malformed(reason);
	if (need > pax->sparse_room) {
		char *grown = realloc(pax->sparse, need * 2);

		if (!grown)
			return codec_out_of_memory("headers", reason);
		pax->sparse = grown;
		pax->sparse_room = need * 2;
	}
	memcpy(pax->sparse + pax->sparse_length, record->begin, record->length);
	pax->sparse_length = need;
	return 0;
}

static int take_record(struct tarpax *pax, const struct record *record, struct reason *reason)
{
	if (key_is(record, "GNU.sparse.name")) {
		pax->sparse_name = true;
		return take_name(pax->path, &pax->path_length, record->value, record->value_length,
				 reason);
	}
	if (key_is(record, "path")) {
		char ignored[WALK_NAME_MAX + 1];
		size_t length = 0;

		if (pax->sparse_name)
			return take_name(ignored, &length, record->value, record->value_length,
					 reason);
		return take_name(pax->path, &pax->path_length, record->value, record->value_length,
				 reason);
	}
	if (key_is(record, "linkpath"))
		return take_name(pax->target, &pax->target_length, record->value,
				 record->value_length, reason);
	if (key_is(record, "size"))
		return take_size(pax, record, reason);
	if (key_begins(record, "GNU.sparse.") || key_is(record, "SCHILY.realsize"))
		return keep_sparse(pax, record, reason);
	if (key_is(record, "SUN.holesdata"))
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "the sparse files of Solaris tar are not supported");
	return 0;
}

/* A global header that names or sizes entries is read differently by every tool. */
static int judge_global(const struct record *record, struct reason *reason)
{
	if (key_is(record, "path") || key_is(record, "linkpath") || key_is(record, "size") ||
	    key_begins(record, "GNU.sparse.") || key_is(record, "SCHILY.realsize"))
		return reason_set(reason, EBADMSG, "archive_unsupported",
				  "a global header of the tar archive sets the %.*s of all entries",
				  (int)(record->key_length < 40 ? record->key_length : 40),
				  record->key);
	return 0;
}

int tarpax_take(struct tarpax *pax, const uint8_t *bytes, size_t length, bool global,
		struct reason *reason)
{
	struct record record = {0};
	size_t at = 0;
	int result = 0;

	while (result == 0 && at < length) {
		result = parse_record(bytes + at, length - at, &record, reason);
		if (result == 0)
			result = global ? judge_global(&record, reason)
					: take_record(pax, &record, reason);
		at += record.length;
	}
	pax->given |= !global;
	return result;
}

int tarpax_take_long(struct tarpax *pax, const uint8_t *bytes, size_t length, bool target,
		     struct reason *reason)
{
	const char *name = (const char *)bytes;
	size_t used = length;

	/* One NUL ends it, and some writers add more. */
	while (used > 0 && name[used - 1] == '\0')
		used--;
	if (target)
		return take_name(pax->target, &pax->target_length, name, used, reason);
	return take_name(pax->path, &pax->path_length, name, used, reason);
}

size_t tarpax_written_max(const struct tarpax *pax)
{
	return pax->sparse_length + pax->path_length + pax->target_length + 3 * RECORD_HEAD;
}

static size_t write_record(char *out, const char *key, const char *value, size_t value_length)
{
	size_t rest = 1 + strlen(key) + 1 + value_length + 1;
	size_t length = rest + 1;
	char digits[24];
	int head;

	/* The length counts its own digits. */
	while ((size_t)snprintf(digits, sizeof(digits), "%zu", length) + rest != length)
		length++;
	head = snprintf(out, RECORD_HEAD, "%zu %s=", length, key);
	memcpy(out + head, value, value_length);
	out[length - 1] = '\n';
	return length;
}

size_t tarpax_write(const struct tarpax *pax, bool link, char *out)
{
	size_t used = write_record(out, "hdrcharset", "BINARY", 6);

	if (pax->path_length > 0)
		used += write_record(out + used, "path", pax->path, pax->path_length);
	if (link && pax->target_length > 0)
		used += write_record(out + used, "linkpath", pax->target, pax->target_length);
	if (pax->sparse_length > 0)
		memcpy(out + used, pax->sparse, pax->sparse_length);
	return used + pax->sparse_length;
}
