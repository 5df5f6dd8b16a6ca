/* SPDX-License-Identifier: Apache-2.0 */
/* How a line of the log is written. Who reads the log may rely on: one object, one line, valid UTF-8. */
#include "engine/audit.h"

#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"

json_t *audit_string(const char *bytes)
{
	json_t *string = json_string(bytes);
	char *clean, *out;

	if (string)
		return string;
	clean = out = malloc(strlen(bytes) * 3 + 1);
	if (!clean)
		return NULL;
	for (; *bytes; bytes++) {
		if ((unsigned char)*bytes < 0x80) {
			*out++ = *bytes;
		} else {
			memcpy(out, "\xef\xbf\xbd", 3);
			out += 3;
		}
	}
	*out = '\0';
	string = json_string(clean);
	free(clean);
	return string;
}

char *audit_newline(char *text, size_t *ret_length)
{
	char *line;

	if (!text)
		return NULL;
	*ret_length = strlen(text) + 1;
	line = realloc(text, *ret_length + 1);
	if (!line) {
		free(text);
		return NULL;
	}
	line[*ret_length - 1] = '\n';
	line[*ret_length] = '\0';
	return line;
}

static void add_caller(json_t *line, const struct caller *caller)
{
	if (!caller)
		return;
	json_object_set_new(line, "uid", json_integer(caller->uid));
	json_object_set_new(line, "gid", json_integer(caller->gid));
	json_object_set_new(line, "pid", json_integer(caller->pid));
}

char *audit_line(const char *event, int64_t at_ns, const struct caller *caller, json_t *fields,
		 size_t *ret_length)
{
	char at[CLOCK_TEXT], *text;
	json_t *object =
		json_pack("{s:s, s:s}", "at", clock_format(at_ns, at), "event", event);

	if (object && fields)
		json_object_update(object, fields);
	json_decref(fields);
	if (!object)
		return NULL;
	add_caller(object, caller);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return audit_newline(text, ret_length);
}
