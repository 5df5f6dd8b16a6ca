/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random deploys, second deploys, aborts, unloads and crashes against a model that is as simple as
 * can be: a version is a fixed set of contents, so the references that the store should hold follow
 * from the version rows alone. After every round they must agree, and contents_check be silent.
 */
#include "tests/store/fixture.h"

#include <pthread.h>

#include "store/piece.h"

#define CONTENTS 40
#define VERSIONS 12

struct model {
	size_t sizes[CONTENTS];
	uint8_t *bytes[CONTENTS];
	struct digest digests[CONTENTS];
	bool holds[VERSIONS][CONTENTS];
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 11;
}

static size_t pick_size(unsigned int content)
{
	static const size_t special[] = {
		0,	     PACKED_MAX,	  PACKED_MAX + 1,	  2 * PART_BYTES,
		1,	     2 * PART_BYTES + 1,  600000,		  700000,
		600001,	     36 * PART_BYTES + 7, 4096,			  2000,
	};

	if (content < sizeof(special) / sizeof(*special))
		return special[content];
	return 10 + content * content * 13 % 30000;
}

static void model_make(struct model *model)
{
	uint64_t state = 12345;

	memset(model, 0, sizeof(*model));
	for (unsigned int i = 0; i < CONTENTS; i++) {
		model->sizes[i] = pick_size(i);
		model->bytes[i] = fixture_bytes(1000 + i, model->sizes[i]);
		must(digest_of(model->bytes[i], model->sizes[i], &model->digests[i]) == 0);
	}
	for (unsigned int v = 0; v < VERSIONS; v++) {
		for (unsigned int i = 0; i < CONTENTS; i++)
			model->holds[v][i] = next_random(&state) % 3 == 0;
		/* The one that streams is slow: two versions have it. */
		model->holds[v][9] = v < 2;
	}
}

static void model_free(struct model *model)
{
	for (unsigned int i = 0; i < CONTENTS; i++)
		free(model->bytes[i]);
}

static struct digest version_digest(unsigned int version)
{
	return (struct digest){.bytes = {(uint8_t)version, 0xee}};
}

/* ---- what the store does ---- */

static struct upload *bring(const struct model *model, struct store *store, unsigned int version)
{
	struct upload *upload = fixture_upload(store);

	for (unsigned int i = 0; i < CONTENTS; i++) {
		if (model->holds[version][i])
			fixture_content(upload, model->bytes[i], model->sizes[i]);
	}
	return upload;
}

static void deploy(const struct model *model, struct store *store, unsigned int version)
{
	struct upload *upload = bring(model, store, version);
	struct digest digest = version_digest(version);

	fixture_seal(upload, "t", &digest);
	fixture_finish(store, upload, "t", &digest);
}

static void give_up(const struct model *model, struct store *store, unsigned int version, bool seal)
{
	struct upload *upload = bring(model, store, version);
	struct digest digest = version_digest(version);

	if (seal)
		fixture_seal(upload, "t", &digest);
	upload_abort(upload);
}

static void unload(const struct model *model, struct store *store, unsigned int version,
		   bool really)
{
	struct digest digests[CONTENTS], digest = version_digest(version);
	struct row_change change = fixture_put_version("t", &digest, 0);
	size_t count = 0;
	uint64_t hold;
	int error;

	for (unsigned int i = 0; i < CONTENTS; i++) {
		if (model->holds[version][i])
			digests[count++] = model->digests[i];
	}
	error = contents_hold(store, "t", &digest, digests, count, &hold, NULL);
	if (error == -ENOENT)
		return;
	must(error == 0);
	change.kind = ROW_DELETE_VERSION;
	if (!really) {
		must(contents_hold_cancel(store, hold) == 0);
		return;
	}
	fixture_commit(store, &change);
	must(contents_release(store, hold, NULL) == 0);
}

static void act(const struct model *model, struct store *store, uint64_t *state)
{
	unsigned int version = (unsigned int)(next_random(state) % VERSIONS);

	/* Contents that stream are met now and then only. */
	if (version < 2 && next_random(state) % 4)
		version += 2;
	switch (next_random(state) % 8) {
	case 0:
	case 1:
	case 2:
		deploy(model, store, version);
		break;
	case 3:
		give_up(model, store, version, false);
		break;
	case 4:
		give_up(model, store, version, true);
		break;
	case 5:
		unload(model, store, version, false);
		break;
	default:
		unload(model, store, version, true);
		break;
	}
}

/* ---- what it should hold ---- */

struct comparison {
	const struct model *model;
	uint64_t expected[CONTENTS];
	unsigned int wrong;
};

static int expect_version(void *context, const char *type, const struct digest *version,
			  const struct version_row *row, const struct reason *why)
{
	struct comparison *comparison = context;

	(void)type;
	(void)why;
	must(row != NULL);
	for (unsigned int i = 0; i < CONTENTS; i++)
		comparison->expected[i] += comparison->model->holds[version->bytes[0]][i];
	return 0;
}

static int compare_content(void *context, const struct digest *digest, uint64_t size,
			   uint64_t references)
{
	struct comparison *comparison = context;
	const struct model *model = comparison->model;

	for (unsigned int i = 0; i < CONTENTS; i++) {
		if (!digest_equal(digest, &model->digests[i]))
			continue;
		comparison->wrong += size != model->sizes[i];
		comparison->wrong += references != comparison->expected[i];
		comparison->expected[i] = 0;
		return 0;
	}
	comparison->wrong++;
	return 0;
}

static void check(const struct model *model, struct store *store)
{
	struct comparison comparison = {.model = model};
	uint64_t stored[CONTENTS];

	fixture_drain(store);
	must(rows_each_version(store, expect_version, &comparison) == 0);
	memcpy(stored, comparison.expected, sizeof(stored));
	must(contents_each(store, compare_content, &comparison) == 0);
	must(comparison.wrong == 0);
	for (unsigned int i = 0; i < CONTENTS; i++) {
		must(comparison.expected[i] == 0);
		if (stored[i])
			must(contents_verify(store, &model->digests[i], model->sizes[i], NULL) ==
			     0);
	}
	must(fixture_findings(store) == 0);
}

Test(model, random_actions_agree_with_it, .timeout = 600)
{
	static struct model model;
	struct fixture fixture;
	uint64_t state = 4711;

	model_make(&model);
	fixture_open(&fixture);
	for (int i = 0; i < 150; i++) {
		act(&model, fixture.store, &state);
		if (i % 10 == 9) {
			fixture_remount(&fixture);
			check(&model, fixture.store);
		} else if (i % 3 == 0) {
			check(&model, fixture.store);
		}
	}
	for (unsigned int v = 0; v < VERSIONS; v++)
		unload(&model, fixture.store, v, true);
	check(&model, fixture.store);
	model_free(&model);
	fixture_close(&fixture);
}

/* ---- at once ---- */

struct actor {
	pthread_t thread;
	const struct model *model;
	struct store *store;
	uint64_t state;
	unsigned int from, count; /* versions of its own, as the engine's locks would order them */
};

static void *act_alone(void *argument)
{
	struct actor *actor = argument;

	for (int i = 0; i < 25; i++) {
		unsigned int version =
			actor->from + (unsigned int)(next_random(&actor->state) % actor->count);

		switch (next_random(&actor->state) % 4) {
		case 0:
			give_up(actor->model, actor->store, version, i % 2);
			break;
		case 1:
			unload(actor->model, actor->store, version, true);
			break;
		default:
			deploy(actor->model, actor->store, version);
			break;
		}
	}
	return NULL;
}

Test(model, threads_that_share_contents_agree_with_it, .timeout = 600)
{
	static struct model model;
	struct actor actors[3];
	struct fixture fixture;

	model_make(&model);
	fixture_open(&fixture);
	for (unsigned int i = 0; i < 3; i++) {
		actors[i] = (struct actor){.model = &model, .store = fixture.store,
					   .state = 77 + i, .from = 2 + 3 * i, .count = 3};
		must(pthread_create(&actors[i].thread, NULL, act_alone, &actors[i]) == 0);
	}
	for (unsigned int i = 0; i < 3; i++)
		must(pthread_join(actors[i].thread, NULL) == 0);
	check(&model, fixture.store);
	fixture_remount(&fixture);
	check(&model, fixture.store);
	model_free(&model);
	fixture_close(&fixture);
}

/* ---- crashes ---- */

static struct model crash_model;
static uint64_t crash_seed;

/* Dies after some actions, with one more upload half-way and what nobody waits for still queued. */
static void act_and_crash(struct fixture *fixture)
{
	uint64_t state = crash_seed * 7919 + 1;
	unsigned int actions;

	for (int i = 0; i < 4; i++)
		next_random(&state);
	actions = (unsigned int)(next_random(&state) % 6);
	fixture_mount(fixture);
	while (actions--)
		act(&crash_model, fixture->store, &state);
	bring(&crash_model, fixture->store, (unsigned int)(next_random(&state) % VERSIONS));
	fixture_crash();
}

Test(model, crashes_agree_with_it, .timeout = 600)
{
	struct fixture fixture;

	model_make(&crash_model);
	fixture_make(&fixture);
	for (crash_seed = 1; crash_seed <= 20; crash_seed++) {
		must(WIFSIGNALED(fixture_in_child(act_and_crash, &fixture)));
		fixture_mount(&fixture);
		check(&crash_model, fixture.store);
		fixture_unmount(&fixture);
	}
	model_free(&crash_model);
	fixture_close(&fixture);
}

/* Dies whenever the parent says so: anywhere, inside a transaction, too. */
static void act_until_killed(struct fixture *fixture)
{
	uint64_t state = crash_seed * 104729 + 1;

	fixture_mount(fixture);
	for (;;)
		act(&crash_model, fixture->store, &state);
}

Test(model, kills_at_any_moment_agree_with_it, .timeout = 600)
{
	struct fixture fixture;

	model_make(&crash_model);
	fixture_make(&fixture);
	for (crash_seed = 1; crash_seed <= 20; crash_seed++) {
		pid_t child = fork();

		must(child >= 0);
		if (child == 0) {
			fixture_is_child = true;
			act_until_killed(&fixture);
		}
		usleep((useconds_t)(crash_seed * 7013 % 90000));
		must(kill(child, SIGKILL) == 0);
		must(waitpid(child, NULL, 0) == child);
		fixture_mount(&fixture);
		check(&crash_model, fixture.store);
		fixture_unmount(&fixture);
	}
	model_free(&crash_model);
	fixture_close(&fixture);
}
