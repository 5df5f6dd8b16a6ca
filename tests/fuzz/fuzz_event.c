/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event as it lies in the store: whatever the bytes are, they are refused, or they are what the
 * encoder would write; then the event can be shown as a line of JSON, and folded into a run.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "engine/event.h"
#include "engine/run.h"
#include "tests/fuzz/fuzz.h"

#define SEEDS (EVENT_KINDS - 1)

const char *fuzz_seed(size_t number, size_t *ret_length)
{
	static uint8_t *seeds[SEEDS];
	static size_t lengths[SEEDS];
	struct event event = {
	    .kind = (enum event_kind)(number + 1),
	    .at_ns = 1700000000123456789,
	    .name = "n\xc3\xa4me",
	    .text = "timers/a\nsignals/b",
	    .text_length = 18,
	    .bytes = 1,
	    .until_ns = 1800000000000000000,
	    .attempt = 1,
	    .how = ATTEMPT_PARKED,
	    .code = -9,
	    .uid = 1000,
	    .gid = 1000,
	    .pid = 42,
	    .start_ticks = 4242,
	    .boot = "01234567-89ab-cdef-0123-456789abcdef",
	};

	if (number >= SEEDS)
		return NULL;
	if (!seeds[number])
		fuzz_check(event_encode(&event, &seeds[number], &lengths[number]) == 0);
	*ret_length = lengths[number];
	return (const char *)seeds[number];
}

static void check_spelling(const struct event *event, const uint8_t *bytes, size_t length)
{
	uint8_t *again;
	size_t again_length;
	int error = event_encode(event, &again, &again_length);

	fuzz_check(error == 0);
	fuzz_check(again_length == length && memcmp(again, bytes, length) == 0);
	free(again);
}

static void check_line(const struct event *event)
{
	json_error_t error;
	size_t length;
	char *line = event_line(event, &length);
	json_t *object;

	fuzz_check(line && length == strlen(line) && line[length - 1] == '\n');
	fuzz_check(!memchr(line, '\n', length - 1));
	object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
	fuzz_check(json_is_object(object));
	fuzz_check(json_object_get(object, "event"));
	json_decref(object);
	free(line);
}

/* Behind a start, an attempt, and what else may be needed: taken or refused, and nothing else. */
static void check_fold(const struct event *event)
{
	struct event before[] = {{.kind = EVENT_WORKFLOW_STARTED, .name = "order"},
				 {.kind = EVENT_ATTEMPT_STARTED, .attempt = 1}};

	for (size_t count = 0; count <= 2; count++) {
		struct run_state state = {0};
		struct items items = {0};
		struct event next = *event;
		int error = 0;

		for (size_t i = 0; i < count; i++) {
			before[i].sequence = i + 1;
			fuzz_check(run_fold(&state, &items, &before[i]) == 0);
		}
		next.sequence = count + 1;
		error = run_fold(&state, &items, &next);
		fuzz_check(error == 0 || error == -EBADMSG);
		run_state_free(&state);
		items_clear(&items);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct event_bytes stored = {.run = 1, .sequence = 1, .bytes = bytes, .length = length};
	struct event event;
	int error = event_decode(&stored, &event);

	fuzz_check(error == 0 || error == -EBADMSG);
	if (error)
		return 0;
	check_spelling(&event, bytes, length);
	check_line(&event);
	check_fold(&event);
	return 0;
}
