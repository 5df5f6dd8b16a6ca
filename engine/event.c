/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an event lies in the store:
 *
 *     1 byte    layout of the event
 *     1 byte    kind
 *     8 bytes   wall clock, nanoseconds
 *     the fields of the kind, in the order of enum field
 *
 * Refuses whatever is not exactly that: a history is replayed, so a field that is read wrongly
 * would be acted upon.
 */
#include "engine/event.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/audit.h"
#include "engine/clock.h"
#include "store/row.h"

#define EVENT_LAYOUT 1
/* Everything but the text. */
#define FIXED_ROOM 640

enum field {
	FIELD_NAME = 1 << 0,
	FIELD_TEXT = 1 << 1,
	FIELD_VALUE = 1 << 2,
	FIELD_VERSION = 1 << 3,
	FIELD_UNTIL = 1 << 4,
	FIELD_ATTEMPT = 1 << 5,
	FIELD_HOW = 1 << 6,
	FIELD_USER = 1 << 7,
	FIELD_HOLDER = 1 << 8,
};

/* What a kind carries, and what `history` calls it. */
static const struct kind {
	const char *event;
	unsigned fields;
	const char *name, *text, *value, *until;
} kinds[EVENT_KINDS] = {
    [EVENT_WORKFLOW_STARTED] = {"WorkflowStarted",
				FIELD_NAME | FIELD_VERSION | FIELD_VALUE | FIELD_USER | FIELD_UNTIL,
				"type", NULL, "input", "deadline"},
    [EVENT_ATTEMPT_STARTED] = {"AttemptStarted", FIELD_ATTEMPT | FIELD_HOLDER, NULL, NULL, NULL,
			       NULL},
    [EVENT_ATTEMPT_ENDED] = {"AttemptEnded", FIELD_ATTEMPT | FIELD_HOW | FIELD_TEXT | FIELD_UNTIL,
			     NULL, "message", NULL, "retry_at"},
    [EVENT_STEP_RECORDED] = {"StepRecorded", FIELD_NAME | FIELD_TEXT | FIELD_VALUE | FIELD_ATTEMPT,
			     "step", "command", "result", NULL},
    [EVENT_TIMER_SET] = {"TimerSet", FIELD_NAME | FIELD_TEXT | FIELD_UNTIL | FIELD_ATTEMPT, "timer",
			 "text", NULL, "due"},
    [EVENT_TIMER_FIRED] = {"TimerFired", FIELD_NAME | FIELD_UNTIL, "timer", NULL, NULL, "due"},
    [EVENT_SIGNAL_DELIVERED] = {"SignalDelivered", FIELD_NAME | FIELD_VALUE | FIELD_USER, "signal",
				NULL, "signal", NULL},
    [EVENT_RUN_PAUSED] = {"RunPaused", FIELD_USER, NULL, NULL, NULL, NULL},
    [EVENT_RUN_RESUMED] = {"RunResumed", FIELD_USER, NULL, NULL, NULL, NULL},
    [EVENT_RUN_REOPENED] = {"RunReopened", FIELD_USER | FIELD_UNTIL, NULL, NULL, NULL, "deadline"},
    [EVENT_RUN_STRANDED] = {"RunStranded", FIELD_TEXT, NULL, "message", NULL, NULL},
    [EVENT_RUN_RECOVERED] = {"RunRecovered", 0, NULL, NULL, NULL, NULL},
    [EVENT_WORKFLOW_COMPLETED] = {"WorkflowCompleted", FIELD_VALUE, NULL, NULL, "result", NULL},
    [EVENT_WORKFLOW_FAILED] = {"WorkflowFailed", FIELD_TEXT, NULL, "message", NULL, NULL},
    [EVENT_WORKFLOW_CANCELLED] = {"WorkflowCancelled", FIELD_TEXT | FIELD_USER, NULL, "reason",
				  NULL, NULL},
    [EVENT_WORKFLOW_TIMED_OUT] = {"WorkflowTimedOut", FIELD_UNTIL, NULL, NULL, NULL, "deadline"},
};

static const char *const hows[ATTEMPT_HOWS] = {
    [ATTEMPT_COMPLETED] = "completed", [ATTEMPT_FAILED] = "failed",
    [ATTEMPT_VIOLATED] = "violated",   [ATTEMPT_PARKED] = "parked",
    [ATTEMPT_PAUSED] = "paused",       [ATTEMPT_CANCELLED] = "cancelled",
    [ATTEMPT_TIMED_OUT] = "timed_out", [ATTEMPT_STRANDED] = "stranded",
    [ATTEMPT_STOPPED] = "stopped",     [ATTEMPT_CRASHED] = "crashed",
};

const char *event_name(enum event_kind kind)
{
	return kind > 0 && kind < EVENT_KINDS ? kinds[kind].event : "?";
}

const char *event_how_name(enum attempt_how how)
{
	return how > 0 && how < ATTEMPT_HOWS ? hows[how] : "?";
}

static void put_fields(struct row *row, const struct event *event, unsigned fields)
{
	if (fields & FIELD_NAME)
		row_put_text(row, event->name, strlen(event->name));
	if (fields & FIELD_TEXT)
		row_put_text(row, event->text, event->text ? event->text_length : 0);
	if (fields & FIELD_VALUE) {
		row_put_bytes(row, event->digest.bytes, DIGEST_BYTES);
		row_put_u64(row, event->bytes);
	}
	if (fields & FIELD_VERSION)
		row_put_bytes(row, event->version.bytes, DIGEST_BYTES);
	if (fields & FIELD_UNTIL)
		row_put_u64(row, (uint64_t)event->until_ns);
	if (fields & FIELD_ATTEMPT)
		row_put_u32(row, event->attempt);
	if (fields & FIELD_HOW) {
		row_put_u8(row, (uint8_t)event->how);
		row_put_u32(row, (uint32_t)event->code);
	}
	if (fields & FIELD_USER) {
		row_put_u32(row, event->uid);
		row_put_u32(row, event->gid);
	}
	if (fields & FIELD_HOLDER) {
		row_put_u32(row, (uint32_t)event->pid);
		row_put_u64(row, event->start_ticks);
		row_put_text(row, event->boot, strlen(event->boot));
	}
}

int event_encode(const struct event *event, uint8_t **ret_bytes, size_t *ret_length)
{
	size_t room = FIXED_ROOM + event->text_length;
	struct row row;
	uint8_t *bytes;

	if (event->text_length > EVENT_TEXT_MAX)
		return -EFBIG;
	bytes = malloc(room);
	if (!bytes)
		return -ENOMEM;
	row_begin(&row, EVENT_LAYOUT, bytes, room);
	row_put_u8(&row, (uint8_t)event->kind);
	row_put_u64(&row, (uint64_t)event->at_ns);
	put_fields(&row, event, kinds[event->kind].fields);
	*ret_bytes = bytes;
	*ret_length = row.length;
	return 0;
}

static void get_digest(struct row_view *view, struct digest *digest)
{
	const uint8_t *bytes = row_get_bytes(view, DIGEST_BYTES);

	if (bytes)
		memcpy(digest->bytes, bytes, DIGEST_BYTES);
}

static void get_how(struct row_view *view, struct event *event)
{
	uint8_t how = row_get_u8(view);

	if (how == 0 || how >= ATTEMPT_HOWS)
		view->failed = true;
	else
		event->how = (enum attempt_how)how;
	event->code = (int32_t)row_get_u32(view);
}

static void get_fields(struct row_view *view, struct event *event, unsigned fields)
{
	if (fields & FIELD_NAME)
		row_get_text(view, event->name, sizeof(event->name));
	if (fields & FIELD_TEXT) {
		event->text_length = row_get_u32(view);
		event->text = (const char *)row_get_bytes(view, event->text_length);
	}
	if (fields & FIELD_VALUE) {
		get_digest(view, &event->digest);
		event->bytes = row_get_u64(view);
	}
	if (fields & FIELD_VERSION)
		get_digest(view, &event->version);
	if (fields & FIELD_UNTIL)
		event->until_ns = (int64_t)row_get_u64(view);
	if (fields & FIELD_ATTEMPT)
		event->attempt = row_get_u32(view);
	if (fields & FIELD_HOW)
		get_how(view, event);
	if (fields & FIELD_USER) {
		event->uid = row_get_u32(view);
		event->gid = row_get_u32(view);
	}
	if (fields & FIELD_HOLDER) {
		event->pid = (int32_t)row_get_u32(view);
		event->start_ticks = row_get_u64(view);
		row_get_text(view, event->boot, sizeof(event->boot));
	}
}

int event_decode(const struct event_bytes *bytes, struct event *ret_event)
{
	struct row_view view = {.at = bytes->bytes, .end = bytes->bytes + bytes->length};
	uint8_t layout, kind;

	memset(ret_event, 0, sizeof(*ret_event));
	if (!bytes->bytes)
		return -EBADMSG;
	ret_event->sequence = bytes->sequence;
	layout = row_get_u8(&view);
	kind = row_get_u8(&view);
	if (layout != EVENT_LAYOUT || kind == 0 || kind >= EVENT_KINDS)
		return -EBADMSG;
	ret_event->kind = (enum event_kind)kind;
	ret_event->at_ns = (int64_t)row_get_u64(&view);
	get_fields(&view, ret_event, kinds[kind].fields);
	return row_finish(&view);
}

void event_set_text(struct event *event, const char *text)
{
	event->text = text;
	event->text_length = strlen(text);
}

/* ---- as history shows it ---- */

static void set(json_t *line, const char *key, json_t *value)
{
	/* Without memory `value` is NULL, and event_line finds the member missing. */
	json_object_set_new(line, key, value);
}

/* A text with its length, whatever bytes it has. */
static json_t *text_string(const char *text, size_t length)
{
	char *copy = malloc(length + 1);
	json_t *string;

	if (!copy)
		return NULL;
	memcpy(copy, text, length);
	copy[length] = '\0';
	/* jansson has no NUL in strings that are read as C strings; a command has none either. */
	string = audit_string(copy);
	free(copy);
	return string;
}

static json_t *lines_array(const char *text, size_t length)
{
	json_t *array = json_array();

	while (array && length) {
		const char *end = memchr(text, '\n', length);
		size_t part = end ? (size_t)(end - text) : length;

		json_array_append_new(array, text_string(text, part));
		part += part < length;
		text += part;
		length -= part;
	}
	return array;
}

static void set_text(json_t *line, const char *key, const struct event *event)
{
	if (event->kind == EVENT_ATTEMPT_ENDED && event->how == ATTEMPT_PARKED)
		set(line, "waits", lines_array(event->text, event->text_length));
	else if (event->text_length)
		set(line, key, text_string(event->text, event->text_length));
}

static void set_value(json_t *line, const char *key, const struct event *event)
{
	char name[32], hex[DIGEST_HEX + 1];

	snprintf(name, sizeof(name), "%s_sha256", key);
	set(line, name, json_string(digest_hex(&event->digest, hex)));
	snprintf(name, sizeof(name), "%s_bytes", key);
	set(line, name, json_integer((json_int_t)event->bytes));
}

static void set_how(json_t *line, const struct event *event)
{
	set(line, "how", json_string(event_how_name(event->how)));
	if (event->how != ATTEMPT_FAILED)
		return;
	if (event->code >= 0)
		set(line, "exit_code", json_integer(event->code));
	else
		set(line, "signal", json_integer(-(json_int_t)event->code));
}

static void set_members(json_t *line, const struct event *event)
{
	const struct kind *kind = &kinds[event->kind];
	char text[DIGEST_HEX + 1], at[CLOCK_TEXT];

	if (kind->fields & FIELD_NAME)
		set(line, kind->name, audit_string(event->name));
	if (kind->fields & FIELD_VERSION)
		set(line, "version", json_string(digest_hex(&event->version, text)));
	if (kind->fields & FIELD_ATTEMPT)
		set(line, "attempt", json_integer(event->attempt));
	if (kind->fields & FIELD_HOW)
		set_how(line, event);
	if (kind->fields & FIELD_TEXT)
		set_text(line, kind->text, event);
	if (kind->fields & FIELD_VALUE)
		set_value(line, kind->value, event);
	if ((kind->fields & FIELD_UNTIL) && event->until_ns)
		set(line, kind->until, json_string(clock_format(event->until_ns, at)));
	if (kind->fields & FIELD_USER) {
		set(line, "uid", json_integer(event->uid));
		set(line, "gid", json_integer(event->gid));
	}
	if (kind->fields & FIELD_HOLDER) {
		set(line, "pid", json_integer(event->pid));
		set(line, "pid_start", json_integer((json_int_t)event->start_ticks));
		set(line, "boot", json_string(event->boot));
	}
}

char *event_line(const struct event *event, size_t *ret_length)
{
	char at[CLOCK_TEXT], *text;
	json_t *line = json_pack("{s:I, s:s, s:s}", "seq", (json_int_t)event->sequence, "at",
				 clock_format(event->at_ns, at), "event", event_name(event->kind));

	if (!line)
		return NULL;
	set_members(line, event);
	text = json_dumps(line, JSON_COMPACT);
	json_decref(line);
	return audit_newline(text, ret_length);
}

/* U+0080 to U+009F, too: a terminal takes U+009B for the beginning of a sequence. */
static bool is_control(const unsigned char *at)
{
	return *at < 0x20 || *at == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0);
}

/* How many bytes the UTF-8 sequence at `at` has, 0 when it is none (RFC 3629). */
static size_t utf8_length(const unsigned char *at)
{
	size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	uint32_t point;

	if (at[0] >= 0xf5 || (at[0] >= 0x80 && at[0] < 0xc2))
		return 0;
	point = length == 1 ? at[0] : at[0] & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (at[i] & 0x3f);
	}
	if ((length == 3 && point < 0x800) ||
	    (length == 4 && (point < 0x10000 || point > 0x10ffff)))
		return 0;
	return point >= 0xd800 && point <= 0xdfff ? 0 : length;
}

bool event_name_is_valid(const char *name)
{
	const unsigned char *at = (const unsigned char *)name;
	size_t length = strlen(name);

	if (length == 0 || length > EVENT_NAME_MAX || name[0] == '.')
		return false;
	while (*at) {
		size_t part = utf8_length(at);

		if (part == 0 || is_control(at) || *at == '/')
			return false;
		at += part;
	}
	return true;
}
