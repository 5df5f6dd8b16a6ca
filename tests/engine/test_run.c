/* SPDX-License-Identifier: Apache-2.0 */
/* The fold: what a history makes of a run, which events may follow which, and what always holds. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run.h"

#define LENGTH_MAX 80

/* A run that is being written: its events, and what they make of it. */
struct story {
	struct event events[LENGTH_MAX];
	size_t count;
	struct run_state state;
	struct items items;
};

static int try(struct story *story, struct event event)
{
	int error;

	event.sequence = story->count + 1;
	event.at_ns = (int64_t)(1000 + story->count);
	if (event.text)
		event.text_length = strlen(event.text);
	error = run_fold(&story->state, &story->items, &event);
	if (!error)
		story->events[story->count++] = event;
	return error;
}

#define TELL(story, ...) cr_assert_eq(try(story, (struct event){__VA_ARGS__}), 0)
#define REFUSE(story, ...) cr_assert_eq(try(story, (struct event){__VA_ARGS__}), -EBADMSG)

#define STARTED .kind = EVENT_WORKFLOW_STARTED, .name = "order"
#define ATTEMPT .kind = EVENT_ATTEMPT_STARTED, .attempt
#define ENDED .kind = EVENT_ATTEMPT_ENDED, .attempt
#define STEP .kind = EVENT_STEP_RECORDED, .attempt
#define TIMER .kind = EVENT_TIMER_SET, .attempt
#define FIRED .kind = EVENT_TIMER_FIRED, .name
#define SIGNAL .kind = EVENT_SIGNAL_DELIVERED, .name
#define PAUSED .kind = EVENT_RUN_PAUSED
#define RESUMED .kind = EVENT_RUN_RESUMED
#define REOPENED .kind = EVENT_RUN_REOPENED
#define STRANDED .kind = EVENT_RUN_STRANDED
#define RECOVERED .kind = EVENT_RUN_RECOVERED
#define COMPLETED .kind = EVENT_WORKFLOW_COMPLETED
#define FAILED .kind = EVENT_WORKFLOW_FAILED
#define CANCELLED .kind = EVENT_WORKFLOW_CANCELLED
#define TIMED_OUT .kind = EVENT_WORKFLOW_TIMED_OUT

static void expect(const struct story *story, enum run_status status)
{
	cr_assert_eq(story->state.status, status, "it is %s, not %s",
		     run_status_name(story->state.status), run_status_name(status));
	cr_assert_eq(story->state.sequence, story->count);
}

static void close_story(struct story *story)
{
	run_state_free(&story->state);
	items_clear(&story->items);
}

static void begin(struct story *story)
{
	*story = (struct story){0};
	TELL(story, STARTED, .uid = 7, .gid = 8, .until_ns = 99, .bytes = 5);
	expect(story, RUN_PENDING);
}

static void begin_attempt(struct story *story)
{
	begin(story);
	TELL(story, ATTEMPT = 1, .pid = 42, .start_ticks = 43, .boot = "boot");
	expect(story, RUN_RUNNING);
}

Test(run, statuses_have_names)
{
	for (int status = 0; status < RUN_STATUSES; status++)
		cr_assert_eq((int)run_status_parse(run_status_name((enum run_status)status)), status);
	cr_assert_eq(run_status_parse(""), RUN_STATUSES);
	cr_assert_eq(run_status_parse("done"), RUN_STATUSES);
	cr_assert_eq(run_status_parse("timed_ou"), RUN_STATUSES);
	for (int status = 0; status < RUN_STATUSES; status++)
		cr_assert_eq(run_is_final((enum run_status)status), status >= RUN_COMPLETED);
}

Test(run, completes)
{
	struct story story;

	begin_attempt(&story);
	cr_assert_str_eq(story.state.type, "order");
	cr_assert_eq(story.state.uid, 7);
	cr_assert_eq(story.state.gid, 8);
	cr_assert_eq(story.state.deadline_ns, 99);
	cr_assert_eq(story.state.input_bytes, 5);
	cr_assert_eq(story.state.pid, 42);
	cr_assert_eq(story.state.start_ticks, 43);
	cr_assert_str_eq(story.state.boot, "boot");
	TELL(&story, ENDED = 1, .how = ATTEMPT_COMPLETED);
	TELL(&story, COMPLETED, .bytes = 11);
	expect(&story, RUN_COMPLETED);
	cr_assert_eq(story.state.result_sequence, 4);
	cr_assert_eq(story.state.result_bytes, 11);
	cr_assert_eq(story.state.started_ns, 1000);
	cr_assert_eq(story.state.changed_ns, 1003);
	close_story(&story);
}

Test(run, nothing_comes_before_its_start)
{
	for (int kind = EVENT_WORKFLOW_STARTED + 1; kind < EVENT_KINDS; kind++) {
		struct story story = {0};

		REFUSE(&story, .kind = (enum event_kind)kind, .attempt = 1);
		close_story(&story);
	}
}

Test(run, nothing_follows_an_end_but_a_retry)
{
	static const enum event_kind ends[] = {EVENT_WORKFLOW_COMPLETED, EVENT_WORKFLOW_FAILED,
					       EVENT_WORKFLOW_CANCELLED, EVENT_WORKFLOW_TIMED_OUT};

	for (size_t i = 0; i < 4; i++) {
		for (int kind = EVENT_WORKFLOW_STARTED; kind < EVENT_KINDS; kind++) {
			bool may =
			    kind == EVENT_RUN_REOPENED && ends[i] != EVENT_WORKFLOW_COMPLETED;
			struct story story;

			begin(&story);
			TELL(&story, .kind = ends[i]);
			expect(&story, (enum run_status)(RUN_COMPLETED + i));
			cr_assert_eq(try(&story, (struct event){.kind = (enum event_kind)kind,
								.attempt = 1}),
				     may ? 0 : -EBADMSG);
			close_story(&story);
		}
	}
}

Test(run, events_come_without_holes)
{
	struct run_state state = {0};
	struct event event = {STARTED, .sequence = 2};

	cr_assert_eq(run_fold(&state, NULL, &event), -EBADMSG);
	event.sequence = 1;
	cr_assert_eq(run_fold(&state, NULL, &event), 0);
	cr_assert_eq(run_fold(&state, NULL, &event), -EBADMSG);
	event = (struct event){SIGNAL = "a", .sequence = 3};
	cr_assert_eq(run_fold(&state, NULL, &event), -EBADMSG);
	event.sequence = 1;
	cr_assert_eq(run_fold(&state, NULL, &event), -EBADMSG);
	event.sequence = 2;
	cr_assert_eq(run_fold(&state, NULL, &event), 0);
	run_state_free(&state);
}

Test(run, a_type_is_no_longer_than_a_type)
{
	struct story story = {0};
	struct event event = {.kind = EVENT_WORKFLOW_STARTED};

	memset(event.name, 't', TYPE_MAX + 1);
	cr_assert_eq(try(&story, event), -EBADMSG);
	event.name[TYPE_MAX] = '\0';
	cr_assert_eq(try(&story, event), 0);
	close_story(&story);
}

Test(run, has_one_attempt_at_a_time_and_they_are_numbered)
{
	struct story story;

	begin(&story);
	REFUSE(&story, ATTEMPT = 0);
	REFUSE(&story, ATTEMPT = 2);
	REFUSE(&story, ENDED = 0, .how = ATTEMPT_FAILED);
	REFUSE(&story, ENDED = 1, .how = ATTEMPT_FAILED);
	TELL(&story, ATTEMPT = 1);
	REFUSE(&story, ATTEMPT = 1);
	REFUSE(&story, ATTEMPT = 2);
	REFUSE(&story, ENDED = 2, .how = ATTEMPT_FAILED);
	TELL(&story, ENDED = 1, .how = ATTEMPT_CRASHED);
	REFUSE(&story, ENDED = 1, .how = ATTEMPT_CRASHED);
	expect(&story, RUN_PENDING);
	REFUSE(&story, ATTEMPT = 1);
	REFUSE(&story, ATTEMPT = 3);
	TELL(&story, ATTEMPT = 2);
	close_story(&story);
}

Test(run, only_the_open_attempt_records)
{
	struct story story;

	begin(&story);
	REFUSE(&story, STEP = 0, .name = "a");
	REFUSE(&story, STEP = 1, .name = "a");
	REFUSE(&story, TIMER = 1, .name = "a");
	TELL(&story, ATTEMPT = 1);
	REFUSE(&story, STEP = 2, .name = "a");
	REFUSE(&story, TIMER = 0, .name = "a");
	TELL(&story, STEP = 1, .name = "a");
	TELL(&story, TIMER = 1, .name = "a", .until_ns = 5);
	TELL(&story, ENDED = 1, .how = ATTEMPT_STOPPED);
	REFUSE(&story, STEP = 1, .name = "b");
	REFUSE(&story, TIMER = 1, .name = "b");
	close_story(&story);
}

Test(run, an_end_comes_after_the_end_of_its_attempt)
{
	static const enum event_kind kinds[] = {EVENT_WORKFLOW_COMPLETED, EVENT_WORKFLOW_FAILED,
						EVENT_WORKFLOW_CANCELLED, EVENT_WORKFLOW_TIMED_OUT,
						EVENT_RUN_PAUSED,	  EVENT_RUN_STRANDED};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct story story;

		begin_attempt(&story);
		REFUSE(&story, .kind = kinds[i]);
		TELL(&story, ENDED = 1, .how = ATTEMPT_CANCELLED);
		TELL(&story, .kind = kinds[i]);
		close_story(&story);
	}
}

Test(run, waits_after_a_failure_and_tells_it)
{
	struct story story;

	begin_attempt(&story);
	TELL(&story, ENDED = 1, .how = ATTEMPT_FAILED, .code = 3, .until_ns = 77, .text = "why");
	expect(&story, RUN_WAITING);
	cr_assert_eq(story.state.retry_ns, 77);
	cr_assert_eq(story.state.failures, 1);
	cr_assert_str_eq(story.state.error, "why");
	TELL(&story, ATTEMPT = 2);
	expect(&story, RUN_RUNNING);
	cr_assert_eq(story.state.retry_ns, 0);
	TELL(&story, ENDED = 2, .how = ATTEMPT_FAILED, .until_ns = 78, .text = "again");
	cr_assert_eq(story.state.failures, 2);
	cr_assert_str_eq(story.state.error, "again");
	TELL(&story, FAILED, .text = "at last");
	expect(&story, RUN_FAILED);
	cr_assert_str_eq(story.state.error, "at last");
	cr_assert_eq(story.state.retry_ns, 0);
	close_story(&story);
}

Test(run, a_recorded_step_forgives_failures)
{
	struct story story;

	begin_attempt(&story);
	TELL(&story, ENDED = 1, .how = ATTEMPT_FAILED, .until_ns = 1);
	TELL(&story, ATTEMPT = 2);
	TELL(&story, ENDED = 2, .how = ATTEMPT_FAILED, .until_ns = 1);
	TELL(&story, ATTEMPT = 3);
	cr_assert_eq(story.state.failures, 2);
	TELL(&story, TIMER = 3, .name = "t", .until_ns = 9);
	TELL(&story, SIGNAL = "s");
	cr_assert_eq(story.state.failures, 2);
	TELL(&story, STEP = 3, .name = "s");
	cr_assert_eq(story.state.failures, 0);
	cr_assert_eq(story.state.steps, 1);
	cr_assert_eq(story.state.timers, 1);
	cr_assert_eq(story.state.signals, 1);
	close_story(&story);
}

Test(run, only_failures_are_counted)
{
	struct story story;
	uint32_t number = 1;

	begin(&story);
	for (int how = ATTEMPT_COMPLETED; how < ATTEMPT_HOWS; how++) {
		if (how == ATTEMPT_FAILED || how == ATTEMPT_PARKED)
			continue;
		TELL(&story, ATTEMPT = number);
		TELL(&story, ENDED = number++, .how = (enum attempt_how)how);
		expect(&story, RUN_PENDING);
		cr_assert_eq(story.state.failures, 0);
	}
	close_story(&story);
}

static void park(struct story *story, const char *waits)
{
	begin_attempt(story);
	TELL(story, TIMER = 1, .name = "a", .until_ns = 5);
	TELL(story, TIMER = 1, .name = "ab", .until_ns = 6);
	TELL(story, ENDED = 1, .how = ATTEMPT_PARKED, .text = waits);
	expect(story, RUN_PARKED);
}

Test(run, is_woken_by_exactly_what_it_waits_for)
{
	static const char waits[] = "timers/a\nsignals/go on\n";
	struct story story;

	park(&story, waits);
	TELL(&story, SIGNAL = "a");
	TELL(&story, SIGNAL = "go");
	TELL(&story, SIGNAL = "go on ");
	TELL(&story, SIGNAL = "ignals/go on");
	TELL(&story, FIRED = "ab");
	expect(&story, RUN_PARKED);
	cr_assert_str_eq(story.state.waits, waits);
	REFUSE(&story, ATTEMPT = 2);
	TELL(&story, SIGNAL = "go on");
	expect(&story, RUN_PENDING);
	cr_assert_null(story.state.waits);
	TELL(&story, FIRED = "a");
	expect(&story, RUN_PENDING);
	close_story(&story);

	park(&story, "signals/x\ntimers/a");
	TELL(&story, FIRED = "a");
	expect(&story, RUN_PENDING);
	close_story(&story);
	park(&story, "\n\nsignals/x");
	TELL(&story, SIGNAL = "");
	expect(&story, RUN_PARKED);
	TELL(&story, SIGNAL = "x");
	expect(&story, RUN_PENDING);
	close_story(&story);
}

Test(run, parked_is_no_longer_what_it_was_before_an_end)
{
	struct story story;

	park(&story, "signals/x\n");
	TELL(&story, CANCELLED, .text = "enough");
	expect(&story, RUN_CANCELLED);
	cr_assert_str_eq(story.state.error, "enough");
	cr_assert_null(story.state.waits);
	TELL(&story, REOPENED, .until_ns = 4);
	expect(&story, RUN_PENDING);
	close_story(&story);
}

Test(run, pauses_and_resumes_from_everywhere)
{
	struct story story;

	begin(&story);
	REFUSE(&story, RESUMED);
	TELL(&story, PAUSED);
	expect(&story, RUN_PAUSED);
	REFUSE(&story, PAUSED);
	REFUSE(&story, ATTEMPT = 1);
	TELL(&story, RESUMED);
	expect(&story, RUN_PENDING);
	TELL(&story, ATTEMPT = 1);
	TELL(&story, ENDED = 1, .how = ATTEMPT_FAILED, .until_ns = 6);
	TELL(&story, PAUSED);
	expect(&story, RUN_PAUSED);
	TELL(&story, RESUMED);
	expect(&story, RUN_WAITING);
	close_story(&story);
}

Test(run, what_wakes_a_parked_run_is_not_lost_while_it_is_paused)
{
	struct story story;

	park(&story, "signals/x\n");
	TELL(&story, PAUSED);
	expect(&story, RUN_PAUSED);
	TELL(&story, RESUMED);
	expect(&story, RUN_PARKED);
	TELL(&story, PAUSED);
	TELL(&story, SIGNAL = "x");
	expect(&story, RUN_PAUSED);
	TELL(&story, RESUMED);
	expect(&story, RUN_PENDING);
	close_story(&story);
}

Test(run, strands_and_recovers_to_what_it_was)
{
	struct story story;

	begin(&story);
	REFUSE(&story, RECOVERED);
	TELL(&story, STRANDED, .text = "gone");
	expect(&story, RUN_STRANDED);
	cr_assert_str_eq(story.state.error, "gone");
	REFUSE(&story, STRANDED, .text = "gone");
	REFUSE(&story, ATTEMPT = 1);
	TELL(&story, PAUSED);
	expect(&story, RUN_STRANDED);
	TELL(&story, RECOVERED);
	expect(&story, RUN_PAUSED);
	cr_assert_null(story.state.error);
	close_story(&story);

	park(&story, "signals/x\n");
	TELL(&story, STRANDED);
	TELL(&story, RECOVERED);
	expect(&story, RUN_PARKED);
	TELL(&story, STRANDED);
	TELL(&story, SIGNAL = "x");
	expect(&story, RUN_STRANDED);
	TELL(&story, RECOVERED);
	expect(&story, RUN_PENDING);
	close_story(&story);
}

Test(run, a_retry_goes_on_from_what_is_recorded)
{
	struct story story;

	begin_attempt(&story);
	TELL(&story, STEP = 1, .name = "s", .text = "cmd");
	TELL(&story, ENDED = 1, .how = ATTEMPT_FAILED, .text = "x");
	TELL(&story, FAILED, .text = "x");
	REFUSE(&story, ATTEMPT = 2);
	TELL(&story, REOPENED, .until_ns = 1234);
	expect(&story, RUN_PENDING);
	cr_assert_eq(story.state.failures, 0);
	cr_assert_eq(story.state.deadline_ns, 1234);
	cr_assert_not_null(items_find(&story.items, ITEM_STEP, "s"));
	REFUSE(&story, REOPENED);
	REFUSE(&story, ATTEMPT = 1);
	TELL(&story, ATTEMPT = 2);
	REFUSE(&story, STEP = 2, .name = "s");
	close_story(&story);
}

/* ---- items ---- */

/* A history is folded at each look at a run that sleeps: that must not take the square of it. */
Test(run, many_items_are_found_at_once, .timeout = 20)
{
	const uint64_t many = 400000;
	struct event event = {.kind = EVENT_SIGNAL_DELIVERED};
	struct items items = {0};
	const struct item *item;

	for (uint64_t i = 1; i <= many; i++) {
		event.sequence = i;
		snprintf(event.name, sizeof(event.name), "%llu", (unsigned long long)i);
		cr_assert_eq(run_fold_items(&items, &event), 0);
	}
	cr_assert_eq(run_fold_items(&items, &event), -EBADMSG);
	for (uint64_t i = 1; i <= many; i++) {
		snprintf(event.name, sizeof(event.name), "%llu", (unsigned long long)i);
		item = items_find(&items, ITEM_SIGNAL, event.name);
		cr_assert(item && item->sequence == i);
	}
	cr_assert_null(items_find(&items, ITEM_SIGNAL, "0"));
	cr_assert_null(items_find(&items, ITEM_STEP, "1"));
	items_clear(&items);
}

Test(run, items_have_kinds_and_are_recorded_once)
{
	struct story story;
	const struct item *item;

	begin_attempt(&story);
	TELL(&story, STEP = 1, .name = "x", .text = "command", .bytes = 3);
	TELL(&story, TIMER = 1, .name = "x", .text = "90s", .until_ns = 50);
	TELL(&story, SIGNAL = "x", .bytes = 9);
	REFUSE(&story, STEP = 1, .name = "x");
	REFUSE(&story, TIMER = 1, .name = "x");
	REFUSE(&story, SIGNAL = "x");
	item = items_find(&story.items, ITEM_STEP, "x");
	cr_assert_not_null(item);
	cr_assert_str_eq(item->text, "command");
	cr_assert_eq(item->bytes, 3);
	cr_assert_eq(item->sequence, 3);
	cr_assert_eq(item->attempt, 1);
	item = items_find(&story.items, ITEM_TIMER, "x");
	cr_assert_not_null(item);
	cr_assert_str_eq(item->text, "90s");
	cr_assert_eq(item->bytes, 3);
	cr_assert_eq(item->until_ns, 50);
	item = items_find(&story.items, ITEM_SIGNAL, "x");
	cr_assert_not_null(item);
	cr_assert_eq(item->bytes, 9);
	cr_assert_null(items_find(&story.items, ITEM_SIGNAL, "y"));
	close_story(&story);
}

Test(run, many_items_are_all_found)
{
	struct items items = {0};
	struct event step = {STEP = 1, .text = "x", .text_length = 1};

	for (int i = 0; i < 3000; i++) {
		snprintf(step.name, sizeof(step.name), "s%d", i);
		cr_assert_eq(run_fold_items(&items, &step), 0);
		cr_assert_eq(run_fold_items(&items, &step), -EBADMSG);
	}
	for (size_t i = 0; i < 3000; i++) {
		snprintf(step.name, sizeof(step.name), "s%zu", i);
		cr_assert_eq(items_find(&items, ITEM_STEP, step.name), &items.list[i]);
		cr_assert_str_eq(items.list[i].name, step.name);
		cr_assert_null(items_find(&items, ITEM_TIMER, step.name));
	}
	cr_assert_null(items_find(&items, ITEM_STEP, "s3000"));
	cr_assert_eq(items.text_bytes, 3000);
	items_clear(&items);
}

Test(run, timers_fire_once_and_the_earliest_is_next)
{
	struct story story;

	begin_attempt(&story);
	cr_assert_eq(items_next_due(&story.items), 0);
	REFUSE(&story, FIRED = "a");
	TELL(&story, TIMER = 1, .name = "b", .until_ns = 30);
	TELL(&story, TIMER = 1, .name = "a", .until_ns = 20);
	TELL(&story, TIMER = 1, .name = "c", .until_ns = 40);
	cr_assert_eq(items_next_due(&story.items), 20);
	TELL(&story, FIRED = "a", .until_ns = 20);
	cr_assert(items_find(&story.items, ITEM_TIMER, "a")->is_fired);
	cr_assert_eq(items_next_due(&story.items), 30);
	REFUSE(&story, FIRED = "a");
	TELL(&story, FIRED = "c");
	TELL(&story, FIRED = "b");
	cr_assert_eq(items_next_due(&story.items), 0);
	close_story(&story);
}

Test(run, a_copy_is_a_copy)
{
	struct story story;
	struct run_state copy;

	park(&story, "signals/x\n");
	cr_assert_eq(run_state_copy(&copy, &story.state), 0);
	cr_assert_str_eq(copy.waits, story.state.waits);
	cr_assert_neq(copy.waits, story.state.waits);
	cr_assert_str_eq(copy.type, "order");
	cr_assert_neq(copy.type, story.state.type);
	close_story(&story);
	cr_assert_str_eq(copy.type, "order");
	run_state_free(&copy);
}

/* ---- what holds for all histories ---- */

static const char *const names[] = {"a", "b", "ab", "timers/a"};
static const char *const waits[] = {"timers/a\n", "signals/a\ntimers/b\n", "signals/ab", "\n"};

static struct event draw(void)
{
	struct event event = {
	    .kind = (enum event_kind)(1 + rand() % (EVENT_KINDS - 1)),
	    .attempt = (uint32_t)(rand() % 8),
	    .how = (enum attempt_how)(1 + rand() % (ATTEMPT_HOWS - 1)),
	    .until_ns = rand() % 3 ? rand() : 0,
	    .text = rand() % 2 ? waits[rand() % 4] : NULL,
	};

	strcpy(event.name, names[rand() % 4]);
	/* Otherwise hardly anything gets beyond the first attempt's end. */
	if (rand() % 4 && event.kind >= EVENT_WORKFLOW_COMPLETED)
		event.kind = rand() % 2 ? EVENT_ATTEMPT_STARTED : EVENT_ATTEMPT_ENDED;
	return event;
}

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void expect_same(const struct run_state *a, const struct run_state *b)
{
	struct run_state left = *a, right = *b;

	cr_assert(is_same_text(a->type, b->type));
	cr_assert(is_same_text(a->boot, b->boot));
	cr_assert(is_same_text(a->waits, b->waits));
	cr_assert(is_same_text(a->error, b->error));
	left.type = right.type = left.boot = right.boot = NULL;
	left.waits = right.waits = left.error = right.error = NULL;
	cr_assert_eq(memcmp(&left, &right, sizeof(left)), 0);
}

static void check_invariants(const struct run_state *before, const struct run_state *after,
			     const struct event *event)
{
	cr_assert_eq(after->sequence, before->sequence + 1);
	cr_assert_geq(after->attempt, before->attempt);
	cr_assert_leq(after->attempt, before->attempt + 1);
	cr_assert_eq(after->has_attempt && after->status != RUN_RUNNING, false);
	cr_assert_eq(after->has_attempt, after->boot != NULL);
	cr_assert_eq(after->is_parked, after->waits != NULL);
	if (run_is_final(before->status))
		cr_assert_eq(event->kind, EVENT_RUN_REOPENED);
	if (run_is_final(after->status)) {
		cr_assert_not(after->has_attempt);
		cr_assert_not(after->is_parked || after->is_paused || after->is_stranded);
		cr_assert_eq(after->retry_ns, 0);
	}
	if (before->has_attempt && after->has_attempt)
		cr_assert_eq(before->attempt, after->attempt);
	if (after->status == RUN_PARKED)
		cr_assert(after->is_parked && !after->has_attempt);
	cr_assert_eq(after->status == RUN_WAITING && after->retry_ns == 0, false);
}

/* The fold of the first part, copied, and then of the rest, is the fold of all. */
static void check_split(const struct story *story, size_t at)
{
	struct run_state first = {0}, copy;

	for (size_t i = 0; i < at; i++)
		cr_assert_eq(run_fold(&first, NULL, &story->events[i]), 0);
	cr_assert_eq(run_state_copy(&copy, &first), 0);
	run_state_free(&first);
	for (size_t i = at; i < story->count; i++)
		cr_assert_eq(run_fold(&copy, NULL, &story->events[i]), 0);
	expect_same(&copy, &story->state);
	run_state_free(&copy);
}

static void tell_randomly(unsigned seed, size_t counts[RUN_STATUSES])
{
	struct story story = {0};

	srand(seed);
	begin(&story);
	for (int i = 0; i < 400 && story.count < LENGTH_MAX; i++) {
		struct event event = draw();
		struct run_state before;

		if (rand() % 2)
			event.attempt =
			    story.state.attempt + (event.kind == EVENT_ATTEMPT_STARTED ? 1 : 0);
		cr_assert_eq(run_state_copy(&before, &story.state), 0);
		event.sequence = story.count + 1;
		if (try(&story, event) == 0) {
			check_invariants(&before, &story.state, &event);
			counts[story.state.status]++;
		} else {
			/* An item that was there is found after the state: such a run is isolated.
			 */
			run_state_free(&story.state);
			story.state = before;
			continue;
		}
		run_state_free(&before);
	}
	for (size_t at = 0; at <= story.count; at += 7)
		check_split(&story, at);
	close_story(&story);
}

Test(run, no_history_breaks_an_invariant)
{
	size_t counts[RUN_STATUSES] = {0};

	for (unsigned seed = 1; seed <= 3000; seed++)
		tell_randomly(seed, counts);
	for (int status = 0; status < RUN_STATUSES; status++)
		cr_assert_gt(counts[status], 100, "%s", run_status_name((enum run_status)status));
}
