/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes parked runs into a state that nobody has mounted: what a hundred thousand runs would have
 * left behind that were started, set a timer and were parked. Through the journal and the vocabulary
 * that the engine itself uses; only the processes that would have taken minutes are left out.
 *
 * usage: sleepers STATE TYPE VERSION COUNT DUE_SECONDS SPREAD_MS
 *        timers are due from now + DUE_SECONDS on, spread evenly over SPREAD_MS
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"
#include "engine/event.h"
#include "store/value.h"

#define BATCH 200
#define EVENTS 4
#define CHANGES (EVENTS + 2)

struct sleepers {
	struct store *store;
	const char *type;
	struct digest version;
	uint64_t count;
	int64_t first_due_ns, spread_ns;
};

static void set_text(struct event *event, const char *text)
{
	event->text = text;
	event->text_length = strlen(text);
}

/* The history of the sleeper number `i`. */
static void make_events(const struct sleepers *sleepers, uint64_t i, const struct value *input,
			struct event events[EVENTS])
{
	int64_t now_ns = clock_wall_ns();

	memset(events, 0, EVENTS * sizeof(*events));
	events[0].kind = EVENT_WORKFLOW_STARTED;
	snprintf(events[0].name, sizeof(events[0].name), "%s", sleepers->type);
	events[0].version = sleepers->version;
	events[0].digest = *value_digest(input);
	events[1].kind = EVENT_ATTEMPT_STARTED;
	events[2].kind = EVENT_TIMER_SET;
	strcpy(events[2].name, "nap");
	set_text(&events[2], "30d");
	events[2].until_ns = sleepers->first_due_ns +
			     sleepers->spread_ns * (int64_t)i / (int64_t)sleepers->count;
	events[3].kind = EVENT_ATTEMPT_ENDED;
	events[3].how = ATTEMPT_PARKED;
	set_text(&events[3], "timers/nap\n");
	for (int e = 0; e < EVENTS; e++) {
		events[e].attempt = 1;
		events[e].at_ns = now_ns;
		events[e].sequence = (uint64_t)e + 1;
	}
}

static int add_run(const struct sleepers *sleepers, uint64_t i, char *id, struct value *input,
		   struct row_change *changes)
{
	uint64_t number = journal_next_run(sleepers->store);
	struct event events[EVENTS];
	int error = 0;

	sprintf(id, "sleeper-%06" PRIu64, i);
	make_events(sleepers, i, input, events);
	changes[0] = (struct row_change){.kind = ROW_PUT_RUN, .run = number, .name = id};
	for (int e = 0; e < EVENTS && !error; e++) {
		uint8_t *bytes = NULL;
		size_t length = 0;

		error = event_encode(&events[e], &bytes, &length);
		changes[1 + e] = (struct row_change){.kind = ROW_APPEND_EVENT,
						     .run = number,
						     .sequence = events[e].sequence,
						     .text = (const char *)bytes,
						     .text_length = length};
	}
	return error ? error : value_put(input, number, 1, &changes[1 + EVENTS], NULL);
}

static int add_batch(const struct sleepers *sleepers, uint64_t from, uint64_t count,
		     struct value *input, struct reason *reason)
{
	static struct row_change changes[BATCH * CHANGES];
	static char ids[BATCH][32];
	int error = 0;

	for (uint64_t i = 0; i < count && !error; i++)
		error = add_run(sleepers, from + i, ids[i], input, &changes[i * CHANGES]);
	if (!error)
		error = rows_commit(sleepers->store, changes, count * CHANGES, reason);
	for (uint64_t i = 0; i < count * CHANGES; i++) {
		if (changes[i].kind == ROW_APPEND_EVENT)
			free((char *)changes[i].text);
	}
	return error;
}

static int add_all(const struct sleepers *sleepers, struct reason *reason)
{
	struct value *input = NULL;
	int error = value_take(sleepers->store, "", 0, &input, reason);

	for (uint64_t i = 0; i < sleepers->count && !error; i += BATCH) {
		uint64_t left = sleepers->count - i;

		error = add_batch(sleepers, i, left < BATCH ? left : BATCH, input, reason);
	}
	value_settle(input, 1);
	return error;
}

int main(int argc, char **argv)
{
	struct sleepers sleepers = {0};
	struct reason reason = {0};
	int error;

	if (argc != 7 || digest_parse(argv[3], strlen(argv[3]), &sleepers.version) != 0) {
		fprintf(stderr, "usage: sleepers STATE TYPE VERSION COUNT DUE_SECONDS SPREAD_MS\n");
		return 2;
	}
	sleepers.type = argv[2];
	sleepers.count = strtoull(argv[4], NULL, 10);
	sleepers.first_due_ns = clock_wall_ns() + strtoll(argv[5], NULL, 10) * 1000000000;
	sleepers.spread_ns = strtoll(argv[6], NULL, 10) * 1000000;
	error = store_open(argv[1], STORE_WRITE, &sleepers.store, &reason);
	if (!error)
		error = add_all(&sleepers, &reason);
	store_close(sleepers.store);
	if (error)
		fprintf(stderr, "sleepers: %s (%s)\n", reason.message, strerror(-error));
	return error != 0;
}
