/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor from within: its heap, its places, its lists. It is included, and so stands in the
 * library's place; runs that are removed already are looked at without consequence.
 */
#include "engine/supervisor.c"

#include <stdio.h>

#include "engine/clock.h"
#include "tests/engine/fixture.h"

#define RUNS 400

static struct run *runs[RUNS];

static void open_engine(struct fixture *fixture)
{
	char id[16];

	fixture_open(fixture);
	for (size_t i = 0; i < RUNS; i++) {
		snprintf(id, sizeof(id), "r%zu", i);
		runs[i] = run_new(id, i + 1);
		cr_assert_not_null(runs[i]);
		runs[i]->is_removed = true;
	}
}

static void close_engine(struct fixture *fixture)
{
	struct engine *engine = fixture->engine;

	for (size_t i = 0; i < RUNS; i++)
		supervisor_schedule(engine, runs[i], 0);
	supervisor_settle(engine);
	fixture_close(fixture);
	for (size_t i = 0; i < RUNS; i++) {
		cr_assert_eq(atomic_load(&runs[i]->references), 1);
		run_put(runs[i]);
	}
}

/* With the lock. */
static void check_heap(const struct supervisor *supervisor)
{
	size_t placed = 0;

	for (size_t at = 1; at <= supervisor->heap_count; at++) {
		cr_assert_eq(supervisor->heap[at]->heap_place, at);
		cr_assert_neq(supervisor->heap[at]->due_ns, 0);
		if (at > 1)
			cr_assert_leq(supervisor->heap[at / 2]->due_ns,
				      supervisor->heap[at]->due_ns);
	}
	for (size_t i = 0; i < RUNS; i++)
		placed += runs[i]->heap_place != 0;
	cr_assert_eq(placed, supervisor->heap_count);
}

Test(supervisor, the_heap_keeps_its_order, .timeout = 60)
{
	struct fixture fixture;
	struct supervisor *supervisor;
	int64_t later_ns;

	open_engine(&fixture);
	supervisor = fixture.engine->runs->supervisor;
	later_ns = clock_wall_ns() + 3600ll * 1000000000;
	srand(1);
	for (int i = 0; i < 40000; i++) {
		struct run *run = runs[rand() % RUNS];
		int64_t due_ns = rand() % 4 ? later_ns + rand() % 1000 : 0;

		supervisor_schedule(fixture.engine, run, due_ns);
		pthread_mutex_lock(&supervisor->lock);
		cr_assert_eq(run->heap_place != 0, due_ns != 0);
		if (i % 16 == 0)
			check_heap(supervisor);
		pthread_mutex_unlock(&supervisor->lock);
	}
	close_engine(&fixture);
}

Test(supervisor, what_is_due_leaves_the_heap_in_order, .timeout = 60)
{
	struct fixture fixture;
	struct supervisor *supervisor;
	int64_t begun_ns, end_ns;
	bool is_empty = false;

	open_engine(&fixture);
	supervisor = fixture.engine->runs->supervisor;
	begun_ns = clock_wall_ns();
	srand(2);
	for (size_t i = 0; i < RUNS; i++)
		supervisor_schedule(fixture.engine, runs[i], begun_ns + 1 + rand() % 500000000);
	while (!is_empty) {
		int64_t before_ns = clock_wall_ns();

		pthread_mutex_lock(&supervisor->lock);
		check_heap(supervisor);
		is_empty = supervisor->heap_count == 0;
		end_ns = clock_wall_ns();
		/* Nothing leaves before its time, and nothing stays long after it. */
		for (size_t i = 0; i < RUNS; i++) {
			if (!runs[i]->heap_place)
				cr_assert_leq(runs[i]->due_ns, end_ns);
			else
				cr_assert_gt(runs[i]->due_ns + 2000000000, before_ns);
		}
		pthread_mutex_unlock(&supervisor->lock);
		usleep(2000);
	}
	close_engine(&fixture);
}

/* Whoever takes a place got one, or is called up once there is one, in turn. */
Test(supervisor, places_are_counted_and_given_in_turn, .timeout = 60)
{
	struct fixture fixture;
	struct supervisor *supervisor;
	size_t taken = 0;

	open_engine(&fixture);
	supervisor = fixture.engine->runs->supervisor;
	supervisor->running_max = 3;
	for (size_t i = 0; i < 10; i++)
		taken += supervisor_take_slot(fixture.engine, runs[i]);
	cr_assert_eq(taken, 3);
	cr_assert_eq(supervisor_running(fixture.engine), 3);
	/* Queued once, however often it asks. */
	cr_assert_not(supervisor_take_slot(fixture.engine, runs[3]));
	cr_assert_eq(supervisor->slots, runs[3]);
	/* Each that is called up looks, wants none any more, and passes it on. */
	supervisor_give_slot(fixture.engine);
	supervisor_settle(fixture.engine);
	pthread_mutex_lock(&supervisor->lock);
	cr_assert_null(supervisor->slots);
	cr_assert_eq(supervisor->granted, 0);
	cr_assert_eq(supervisor->running, 2);
	pthread_mutex_unlock(&supervisor->lock);
	for (size_t i = 0; i < 10; i++) {
		cr_assert_not(runs[i]->is_granted);
		cr_assert_not(runs[i]->wants_slot);
	}
	cr_assert(supervisor_take_slot(fixture.engine, runs[9]));
	for (int i = 0; i < 3; i++)
		supervisor_give_slot(fixture.engine);
	close_engine(&fixture);
}

Test(supervisor, whoever_is_told_to_look_looks, .timeout = 60)
{
	struct fixture fixture;

	open_engine(&fixture);
	srand(3);
	for (int i = 0; i < 20000; i++)
		supervisor_attend(fixture.engine, runs[rand() % RUNS]);
	supervisor_settle(fixture.engine);
	for (size_t i = 0; i < RUNS; i++) {
		cr_assert_not(runs[i]->is_ready);
		cr_assert_not(runs[i]->is_attended);
		cr_assert_not(runs[i]->wants_more);
	}
	close_engine(&fixture);
}
