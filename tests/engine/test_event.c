/* SPDX-License-Identifier: Apache-2.0 */
/* Events: encoded and decoded, refused when a byte is wrong, and as a line of `history`. */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/event.h"

/* An event with every field set, whatever its kind carries of them. */
static struct event make(enum event_kind kind)
{
	struct event event = {
	    .kind = kind,
	    .sequence = 7,
	    .at_ns = 1700000000123456789,
	    .name = "n\xc3\xa4me",
	    .text = "one \"two\"\n\xff",
	    .bytes = UINT64_C(0x123456789a),
	    .until_ns = 1800000000987654321,
	    .attempt = 4000000000,
	    .how = ATTEMPT_FAILED,
	    .code = -9,
	    .uid = 4000000001,
	    .gid = 4000000002,
	    .pid = 4194303,
	    .start_ticks = UINT64_C(0x2123456789),
	    .boot = "01234567-89ab-cdef-0123-456789abcdef",
	};

	event.text_length = strlen(event.text);
	memset(event.digest.bytes, 0xd1, DIGEST_BYTES);
	memset(event.version.bytes, 0x7e, DIGEST_BYTES);
	return event;
}

static struct event_bytes encode(const struct event *event)
{
	uint8_t *bytes;
	struct event_bytes stored = {.run = 1, .sequence = event->sequence};

	cr_assert_eq(event_encode(event, &bytes, &stored.length), 0);
	stored.bytes = bytes;
	return stored;
}

static void release(struct event_bytes *stored)
{
	free((void *)stored->bytes);
}

static char *line_of(const struct event *event)
{
	size_t length;
	char *line = event_line(event, &length);

	cr_assert_not_null(line);
	cr_assert_eq(length, strlen(line));
	cr_assert_eq(line[length - 1], '\n');
	cr_assert_null(memchr(line, '\n', length - 1));
	return line;
}

static void each_kind(void (*check)(enum event_kind kind))
{
	for (int kind = EVENT_WORKFLOW_STARTED; kind < EVENT_KINDS; kind++)
		check((enum event_kind)kind);
}

/* What is in the bytes is in the decoded event, or else they would not be the same bytes again. */
static void check_round_trip(enum event_kind kind)
{
	struct event event = make(kind), decoded;
	struct event_bytes first = encode(&event), again;

	cr_assert_eq(event_decode(&first, &decoded), 0, "%s", event_name(kind));
	cr_assert_eq(decoded.kind, kind);
	cr_assert_eq(decoded.sequence, event.sequence);
	cr_assert_eq(decoded.at_ns, event.at_ns);
	again = encode(&decoded);
	cr_assert_eq(again.length, first.length);
	cr_assert_eq(memcmp(again.bytes, first.bytes, first.length), 0);
	release(&first);
	release(&again);
}

Test(event, every_kind_comes_back_as_it_went)
{
	each_kind(check_round_trip);
}

static struct event round_trip(const struct event *event, struct event_bytes *stored)
{
	struct event decoded;

	*stored = encode(event);
	cr_assert_eq(event_decode(stored, &decoded), 0);
	return decoded;
}

Test(event, every_field_comes_back)
{
	struct event_bytes stored;
	struct event in = make(EVENT_WORKFLOW_STARTED), out = round_trip(&in, &stored);

	cr_assert_str_eq(out.name, in.name);
	cr_assert(digest_equal(&out.version, &in.version));
	cr_assert(digest_equal(&out.digest, &in.digest));
	cr_assert_eq(out.bytes, in.bytes);
	cr_assert_eq(out.until_ns, in.until_ns);
	cr_assert_eq(out.uid, in.uid);
	cr_assert_eq(out.gid, in.gid);
	release(&stored);

	in = make(EVENT_ATTEMPT_STARTED);
	out = round_trip(&in, &stored);
	cr_assert_eq(out.attempt, in.attempt);
	cr_assert_eq(out.pid, in.pid);
	cr_assert_eq(out.start_ticks, in.start_ticks);
	cr_assert_str_eq(out.boot, in.boot);
	release(&stored);

	in = make(EVENT_ATTEMPT_ENDED);
	for (int how = ATTEMPT_COMPLETED; how < ATTEMPT_HOWS; how++) {
		in.how = (enum attempt_how)how;
		out = round_trip(&in, &stored);
		cr_assert_eq(out.how, in.how);
		cr_assert_eq(out.code, in.code);
		cr_assert_eq(out.text_length, in.text_length);
		cr_assert_eq(memcmp(out.text, in.text, in.text_length), 0);
		release(&stored);
	}
}

static void refuse(const uint8_t *bytes, size_t length)
{
	struct event_bytes stored = {.run = 1, .sequence = 1, .length = length};
	struct event event;
	/* A block of exactly that length: the sanitizer sees a byte too far. */
	uint8_t *copy = malloc(length ? length : 1);

	cr_assert_not_null(copy);
	if (length)
		memcpy(copy, bytes, length);
	stored.bytes = copy;
	cr_assert_eq(event_decode(&stored, &event), -EBADMSG);
	free(copy);
}

static void check_cut_and_extended(enum event_kind kind)
{
	struct event event = make(kind);
	struct event_bytes whole = encode(&event);
	uint8_t longer[2048];

	for (size_t length = 0; length < whole.length; length++)
		refuse(whole.bytes, length);
	memcpy(longer, whole.bytes, whole.length);
	for (int more = 0; more < 256; more += 51) {
		longer[whole.length] = (uint8_t)more;
		refuse(longer, whole.length + 1);
	}
	release(&whole);
}

Test(event, no_part_and_no_extension_is_an_event)
{
	each_kind(check_cut_and_extended);
}

Test(event, unknown_layouts_kinds_and_ends_are_refused)
{
	struct event event = make(EVENT_ATTEMPT_ENDED);
	struct event_bytes stored = encode(&event);
	uint8_t *bytes = (uint8_t *)stored.bytes, was;
	struct event decoded;

	for (int value = 0; value < 256; value++) {
		was = bytes[0];
		bytes[0] = (uint8_t)value;
		cr_assert_eq(event_decode(&stored, &decoded) == 0, value == was);
		bytes[0] = was;
	}
	bytes[1] = 0;
	refuse(bytes, stored.length);
	bytes[1] = EVENT_KINDS;
	refuse(bytes, stored.length);
	bytes[1] = EVENT_ATTEMPT_ENDED;
	/* The end, behind the attempt and in front of the code: see enum field. */
	was = bytes[stored.length - 5];
	cr_assert_eq(was, ATTEMPT_FAILED);
	bytes[stored.length - 5] = 0;
	refuse(bytes, stored.length);
	bytes[stored.length - 5] = ATTEMPT_HOWS;
	refuse(bytes, stored.length);
	release(&stored);
}

Test(event, an_unreadable_row_is_no_event)
{
	struct event_bytes stored = {.run = 1, .sequence = 1};
	struct event event;

	cr_assert_eq(event_decode(&stored, &event), -EBADMSG);
}

Test(event, a_name_with_a_nul_or_too_long_is_refused)
{
	struct event event = make(EVENT_TIMER_FIRED);
	struct event_bytes stored = encode(&event);
	uint8_t *bytes = (uint8_t *)stored.bytes;

	bytes[10 + 4 + 1] = 0;
	refuse(bytes, stored.length);
	release(&stored);
}

/* Random flips: either refused, or an event that can be shown and written again. */
static void check_flips(enum event_kind kind)
{
	struct event event = make(kind), decoded;
	struct event_bytes stored = encode(&event);
	uint8_t *bytes = (uint8_t *)stored.bytes;

	srand((unsigned)kind);
	for (int i = 0; i < 2000; i++) {
		size_t at = (size_t)rand() % stored.length;
		uint8_t flip = (uint8_t)(1u << (rand() % 8));

		bytes[at] ^= flip;
		if (event_decode(&stored, &decoded) == 0) {
			struct event_bytes again = encode(&decoded);

			cr_assert_eq(again.length, stored.length);
			cr_assert_eq(memcmp(again.bytes, bytes, again.length), 0);
			free(line_of(&decoded));
			release(&again);
		}
		if (i % 3)
			bytes[at] ^= flip;
	}
	release(&stored);
}

Test(event, flipped_bits_never_harm)
{
	each_kind(check_flips);
}

Test(event, the_longest_text_fits_and_one_more_does_not)
{
	char *text = malloc(EVENT_TEXT_MAX + 1);
	struct event event = make(EVENT_STEP_RECORDED), decoded;
	struct event_bytes stored;
	uint8_t *bytes;
	size_t length;

	cr_assert_not_null(text);
	memset(text, 'x', EVENT_TEXT_MAX + 1);
	memset(event.name, 'n', EVENT_NAME_MAX);
	event.name[EVENT_NAME_MAX] = '\0';
	event.text = text;
	event.text_length = EVENT_TEXT_MAX;
	stored = encode(&event);
	cr_assert_leq(stored.length, EVENT_BYTES_MAX);
	cr_assert_eq(event_decode(&stored, &decoded), 0);
	cr_assert_eq(decoded.text_length, EVENT_TEXT_MAX);
	cr_assert_str_eq(decoded.name, event.name);
	release(&stored);
	event.text_length++;
	cr_assert_eq(event_encode(&event, &bytes, &length), -EFBIG);
	free(text);
}

/* ---- as a line ---- */

static const char *const members[EVENT_KINDS] = {
    [EVENT_WORKFLOW_STARTED] = "type version input_sha256 input_bytes deadline uid gid",
    [EVENT_ATTEMPT_STARTED] = "attempt pid pid_start boot",
    [EVENT_ATTEMPT_ENDED] = "attempt how signal message retry_at",
    [EVENT_STEP_RECORDED] = "step attempt command result_sha256 result_bytes",
    [EVENT_TIMER_SET] = "timer attempt text due",
    [EVENT_TIMER_FIRED] = "timer due",
    [EVENT_SIGNAL_DELIVERED] = "signal signal_sha256 signal_bytes uid gid",
    [EVENT_RUN_PAUSED] = "uid gid",
    [EVENT_RUN_RESUMED] = "uid gid",
    [EVENT_RUN_REOPENED] = "deadline uid gid",
    [EVENT_RUN_STRANDED] = "message",
    [EVENT_RUN_RECOVERED] = "",
    [EVENT_WORKFLOW_COMPLETED] = "result_sha256 result_bytes",
    [EVENT_WORKFLOW_FAILED] = "message",
    [EVENT_WORKFLOW_CANCELLED] = "reason uid gid",
    [EVENT_WORKFLOW_TIMED_OUT] = "deadline",
};

static json_t *parse(const char *line)
{
	json_error_t error;
	json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);

	cr_assert_not_null(object, "%s: %s", error.text, line);
	cr_assert(json_is_object(object));
	return object;
}

static void check_line(enum event_kind kind)
{
	struct event event = make(kind);
	char *line = line_of(&event), *again = line_of(&event), wanted[128];
	json_t *object = parse(line);
	size_t count = 3;

	cr_assert_str_eq(line, again);
	cr_assert_eq(json_integer_value(json_object_get(object, "seq")), 7);
	cr_assert_str_eq(json_string_value(json_object_get(object, "event")), event_name(kind));
	cr_assert_str_eq(json_string_value(json_object_get(object, "at")),
			 "2023-11-14T22:13:20.123Z");
	snprintf(wanted, sizeof(wanted), "%s", members[kind]);
	for (char *save, *name = strtok_r(wanted, " ", &save); name;
	     name = strtok_r(NULL, " ", &save)) {
		cr_assert_not_null(json_object_get(object, name), "no %s in %s", name, line);
		count++;
	}
	cr_assert_eq(json_object_size(object), count, "%s", line);
	json_decref(object);
	free(line);
	free(again);
}

Test(event, a_line_has_all_fields_and_is_the_same_each_time)
{
	each_kind(check_line);
}

Test(event, a_line_is_written_to_be_read)
{
	struct event event = make(EVENT_STEP_RECORDED);
	char *line;

	event.text = "./bin/charge 42";
	event.text_length = strlen(event.text);
	strcpy(event.name, "charge");
	event.attempt = 2;
	event.bytes = 3;
	line = line_of(&event);
	cr_assert_str_eq(line, "{\"seq\":7,\"at\":\"2023-11-14T22:13:20.123Z\","
			       "\"event\":\"StepRecorded\",\"step\":\"charge\",\"attempt\":2,"
			       "\"command\":\"./bin/charge 42\",\"result_sha256\":\""
			       "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
			       "\",\"result_bytes\":3}\n");
	free(line);
}

Test(event, a_line_tells_codes_signals_and_waits)
{
	struct event event = make(EVENT_ATTEMPT_ENDED);
	char *line;
	json_t *object, *waits;

	event.code = 3;
	line = line_of(&event);
	object = parse(line);
	cr_assert_eq(json_integer_value(json_object_get(object, "exit_code")), 3);
	cr_assert_null(json_object_get(object, "signal"));
	json_decref(object);
	free(line);

	event.how = ATTEMPT_PARKED;
	event.until_ns = 0;
	event.text = "timers/a\nsignals/b c\n";
	event.text_length = strlen(event.text);
	line = line_of(&event);
	object = parse(line);
	waits = json_object_get(object, "waits");
	cr_assert_eq(json_array_size(waits), 2, "%s", line);
	cr_assert_str_eq(json_string_value(json_array_get(waits, 0)), "timers/a");
	cr_assert_str_eq(json_string_value(json_array_get(waits, 1)), "signals/b c");
	cr_assert_null(json_object_get(object, "retry_at"));
	json_decref(object);
	free(line);
}

/* ---- names ---- */

Test(event, names_that_are_taken)
{
	static const char *const good[] = {
	    "a",
	    "a.b",
	    "a b",
	    "-",
	    "~",
	    "\xc2\xa0",
	    "\xc3\xa9",
	    "\xdf\xbf",
	    "\xe0\xa0\x80",
	    "\xed\x9f\xbf",
	    "\xee\x80\x80",
	    "\xef\xbf\xbf",
	    "\xf0\x90\x80\x80",
	    "\xf4\x8f\xbf\xbf",
	    "\xf0\x9f\x98\x80 smile",
	};
	char longest[EVENT_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_assert(event_name_is_valid(good[i]), "%zu", i);
	memset(longest, 'x', sizeof(longest));
	longest[EVENT_NAME_MAX] = '\0';
	cr_assert(event_name_is_valid(longest));
	longest[EVENT_NAME_MAX] = 'x';
	longest[EVENT_NAME_MAX + 1] = '\0';
	cr_assert_not(event_name_is_valid(longest));
}

Test(event, names_that_are_not)
{
	static const char *const bad[] = {
	    "",
	    ".",
	    "..",
	    ".a",
	    "/",
	    "a/b",
	    "a\n",
	    "\t",
	    "\x1b[2J",
	    "\x7f",
	    "\x80",
	    "a\xbf",
	    "\xc0\x80", /* overlong NUL */
	    "\xc1\xbf",
	    "\xc3", /* cut */
	    "\xc3x",
	    "\xe0\x80\x80", /* overlong */
	    "\xe0\x9f\xbf",
	    "\xe2\x82",
	    "\xed\xa0\x80", /* a surrogate */
	    "\xed\xbf\xbf",
	    "\xf0\x80\x80\x80", /* overlong */
	    "\xf0\x8f\xbf\xbf",
	    "\xf0\x9f\x98",
	    "\xf4\x90\x80\x80", /* past the last */
	    "\xf5\x80\x80\x80",
	    "\xff",
	    "\xc2\x80", /* C1: controls as well, for a terminal */
	    ("\xc2\x9b"
	     "2J"),
	    "\xc2\x9f",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(event_name_is_valid(bad[i]), "%zu", i);
}
