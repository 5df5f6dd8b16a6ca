/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills struct reason. Texts are always NUL-terminated and cut, never refused: a message that is
 * too long is still better than none.
 */
#include "store/reason.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int reason_set(struct reason *reason, int error, const char *code, const char *format, ...)
{
	va_list args;

	if (reason) {
		reason->error = error;
		snprintf(reason->code, sizeof(reason->code), "%s", code);
		va_start(args, format);
		vsnprintf(reason->message, sizeof(reason->message), format, args);
		va_end(args);
		reason->entry[0] = '\0';
	}
	return -error;
}

static size_t escape_byte(char *out, unsigned char byte)
{
	if (byte >= 0x20 && byte < 0x7f && byte != '\\') {
		out[0] = (char)byte;
		return 1;
	}
	out[0] = '\\';
	out[1] = (char)('0' + (byte >> 6));
	out[2] = (char)('0' + ((byte >> 3) & 7));
	out[3] = (char)('0' + (byte & 7));
	return 4;
}

void reason_name_entry(struct reason *reason, const char *path, size_t length)
{
	static const char gap[] = "...";
	size_t used = 0, room, tail = 40;

	if (!reason)
		return;
	room = sizeof(reason->entry) - 1;
	for (size_t i = 0; i < length; i++) {
		/* Each byte may take four; keep room for the gap and an escaped tail. */
		if (length - i > tail && used + 4 + sizeof(gap) + 4 * tail > room) {
			memcpy(reason->entry + used, gap, sizeof(gap) - 1);
			used += sizeof(gap) - 1;
			i = length - tail;
		}
		if (used + 4 > room)
			break;
		used += escape_byte(reason->entry + used, (unsigned char)path[i]);
	}
	reason->entry[used] = '\0';
}

void reason_prefix(struct reason *reason, const char *prefix)
{
	char message[sizeof(reason->message)];

	if (!reason)
		return;
	memcpy(message, reason->message, sizeof(message));
	snprintf(reason->message, sizeof(reason->message), "%.160s: %.460s", prefix, message);
}
