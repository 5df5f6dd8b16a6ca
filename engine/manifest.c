/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.json, parsed by jansson and judged key by key. Hostile: its size is bounded before
 * parsing, its depth by jansson (JSON_PARSER_MAX_DEPTH, 2048), and every string is checked for NUL
 * by its length.
 */
#include "engine/manifest.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "engine/type.h"

#define MAX_ATTEMPTS_DEFAULT 3
#define INITIAL_MS_DEFAULT   1000
#define MAX_MS_DEFAULT       300000
#define MAX_ATTEMPTS_MAX     1000000
#define MS_MAX               (366ll * 86400 * 1000)
#define SECONDS_MAX          (100ll * 366 * 86400)

static int invalid(struct reason *reason, const char *what)
{
	return reason_set(reason, EINVAL, "manifest_invalid", "manifest.json: %s", what);
}

/* A string member. Returns 1 when it is there, 0 when it is absent, -EINVAL for another type. */
static int get_string(const json_t *object, const char *key, const char **ret_text,
		      size_t *ret_length, struct reason *reason)
{
	const json_t *member = json_object_get(object, key);
	char what[128];

	if (!member)
		return 0;
	if (!json_is_string(member)) {
		snprintf(what, sizeof(what), "\"%s\" must be a string", key);
		return invalid(reason, what);
	}
	*ret_text = json_string_value(member);
	*ret_length = json_string_length(member);
	return 1;
}

/* An integer member within bounds; absent leaves *number as it is. */
static int get_integer(const json_t *object, const char *key, long long low, long long high,
		       long long *number, struct reason *reason)
{
	const json_t *member = json_object_get(object, key);
	char what[160];

	if (!member)
		return 0;
	if (json_is_integer(member) && json_integer_value(member) >= low &&
	    json_integer_value(member) <= high) {
		*number = json_integer_value(member);
		return 0;
	}
	if (low == high)
		snprintf(what, sizeof(what), "\"%s\" must be %lld", key, low);
	else
		snprintf(what, sizeof(what), "\"%s\" must be a whole number from %lld to %lld",
			 key, low, high);
	return invalid(reason, what);
}

/* An object member. Returns 1, 0 when absent, -EINVAL. */
static int get_object(const json_t *object, const char *key, const json_t **ret_member,
		      struct reason *reason)
{
	char what[128];

	*ret_member = json_object_get(object, key);
	if (!*ret_member)
		return 0;
	if (json_is_object(*ret_member))
		return 1;
	snprintf(what, sizeof(what), "\"%s\" must be an object", key);
	return invalid(reason, what);
}

static int read_type(const json_t *object, struct manifest *manifest, struct reason *reason)
{
	const char *module = NULL;
	size_t length = 0;
	int result = get_string(object, "entry_module", &module, &length, reason);

	if (result < 0)
		return result;
	if (result == 0)
		return invalid(reason, "\"entry_module\" is missing; it names the workflow type");
	if (type_from_module(module, length, manifest->type) != 0)
		return invalid(reason,
			       "\"entry_module\" must be 1 to 128 of A-Z a-z 0-9 _ @ . - (and /, "
			       "which becomes @), without a leading dot and not 64 hex digits");
	return 0;
}

static int read_function(const json_t *object, struct manifest *manifest, struct reason *reason)
{
	const char *function = "run";
	size_t length = 3;
	int result = get_string(object, "entry_function", &function, &length, reason);

	if (result < 0)
		return result;
	if (length == 0 || length > FUNCTION_MAX || strlen(function) != length ||
	    strchr(function, '/') || strcmp(function, ".") == 0 || strcmp(function, "..") == 0)
		return invalid(reason, "\"entry_function\" must be the name of a file in bin/");
	memcpy(manifest->function, function, length + 1);
	return 0;
}

/* Of UTF-8: C0, DEL, and C1, which a terminal obeys as well (U+009B begins a sequence). */
static bool has_control_character(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)text[i];

		if (byte < 0x20 || byte == 0x7f)
			return true;
		if (byte == 0xc2 && i + 1 < length && (unsigned char)text[i + 1] < 0xa0)
			return true;
	}
	return false;
}

static int read_label(const json_t *object, struct manifest *manifest, struct reason *reason)
{
	const char *label = "";
	size_t length = 0;
	int result = get_string(object, "label", &label, &length, reason);

	if (result < 0)
		return result;
	if (length > LABEL_MAX)
		return invalid(reason, "\"label\" must have at most 128 bytes");
	if (has_control_character(label, length))
		return invalid(reason, "\"label\" must have no control characters");
	memcpy(manifest->label, label, length);
	manifest->label[length] = '\0';
	return 0;
}

static int read_timeout(const json_t *object, struct manifest *manifest, struct reason *reason)
{
	const json_t *timeout;
	long long seconds = 0, nanos = 0;
	int result = get_object(object, "timeout", &timeout, reason);

	if (result <= 0)
		return result;
	result = get_integer(timeout, "secs", 0, SECONDS_MAX, &seconds, reason);
	if (!result)
		result = get_integer(timeout, "nanos", 0, 999999999, &nanos, reason);
	if (result)
		return result;
	manifest->has_timeout = true;
	manifest->timeout_ns = (uint64_t)seconds * 1000000000u + (uint64_t)nanos;
	return 0;
}

static int read_retry(const json_t *object, struct manifest *manifest, struct reason *reason)
{
	const json_t *retry;
	long long attempts = MAX_ATTEMPTS_DEFAULT;
	long long initial_ms = INITIAL_MS_DEFAULT, max_ms = MAX_MS_DEFAULT;
	int result = get_object(object, "retry", &retry, reason);

	if (result < 0)
		return result;
	if (result == 1) {
		result = get_integer(retry, "max_attempts", 1, MAX_ATTEMPTS_MAX, &attempts, reason);
		if (!result)
			result = get_integer(retry, "initial_ms", 0, MS_MAX, &initial_ms, reason);
		if (!result)
			result = get_integer(retry, "max_ms", 0, MS_MAX, &max_ms, reason);
		if (result)
			return result;
		if (initial_ms > max_ms && json_object_get(retry, "max_ms"))
			return invalid(reason, "\"retry\": initial_ms is greater than max_ms");
	}
	manifest->max_attempts = (uint32_t)attempts;
	manifest->initial_ms = (uint64_t)initial_ms;
	manifest->max_ms = (uint64_t)(initial_ms > max_ms ? initial_ms : max_ms);
	return 0;
}

static int read_all(const json_t *object, struct manifest *manifest, struct reason *reason)
{
	long long format = 1;
	int error;

	if (!json_is_object(object))
		return invalid(reason, "it must be a JSON object");
	error = get_integer(object, "format_version", 1, 1, &format, reason);
	if (!error)
		error = read_type(object, manifest, reason);
	if (!error)
		error = read_function(object, manifest, reason);
	if (!error)
		error = read_label(object, manifest, reason);
	if (!error)
		error = read_timeout(object, manifest, reason);
	if (!error)
		error = read_retry(object, manifest, reason);
	return error;
}

/* jansson quotes the bytes near the error as they are, newlines too; a message has none. */
static int refuse_json(const json_error_t *where, struct reason *reason)
{
	char text[JSON_ERROR_TEXT_LENGTH];
	size_t length = strnlen(where->text, sizeof(text) - 1);

	for (size_t i = 0; i < length; i++)
		text[i] = where->text[i] < 0x20 || where->text[i] > 0x7e ? '?' : where->text[i];
	text[length] = '\0';
	return reason_set(reason, EINVAL, "manifest_invalid", "manifest.json, line %d: %s",
			  where->line, text);
}

int manifest_parse(const void *bytes, size_t length, struct manifest *ret_manifest,
		   struct reason *reason)
{
	json_error_t where;
	json_t *object;
	int error;

	if (length > MANIFEST_BYTES_MAX)
		return invalid(reason, "it has more than 1 MiB");
	if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0)
		return invalid(reason, "it begins with a byte order mark; save it as plain UTF-8");
	object = json_loadb(bytes, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
	if (!object)
		return refuse_json(&where, reason);
	*ret_manifest = (struct manifest){0};
	error = read_all(object, ret_manifest, reason);
	json_decref(object);
	return error;
}
