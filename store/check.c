/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child that walks the state before anybody trusts it. It reports through a pipe, and by how it
 * ends; the parent believes nothing else.
 */
#include "store/check.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "store/env.h"
#include "store/private.h"

/* Far beyond what a walk of millions of rows takes; only a loop lasts that long. */
#define PATIENCE_MS (15 * 60 * 1000)
#define TEXT_ROOM   200
#define FREE_LIST   0

struct walk {
	struct env env;
	MDB_txn *txn;
	uint64_t pages; /* the file's, in use or free */
	char *text;     /* what is wrong */
};

static int wrong(struct walk *walk, const char *table, const char *what)
{
	snprintf(walk->text, TEXT_ROOM, "%s/%s: %s", walk->env.kind->name, table, what);
	return -EBADMSG;
}

static int compare(const MDB_val *a, const MDB_val *b)
{
	size_t common = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
	int order = memcmp(a->mv_data, b->mv_data, common);

	return order ? order : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

/* Keeps the last key, because the next step may leave its page. */
struct last_key {
	uint8_t bytes[512];
	MDB_val key;
};

static int check_key(struct walk *walk, const char *table, const MDB_val *key,
		     struct last_key *last)
{
	if (!key->mv_size || key->mv_size > sizeof(last->bytes))
		return wrong(walk, table, "a key has an impossible length");
	if (last->key.mv_data && compare(&last->key, key) >= 0)
		return wrong(walk, table, "the keys are out of order");
	memcpy(last->bytes, key->mv_data, key->mv_size);
	last->key = (MDB_val){.mv_size = key->mv_size, .mv_data = last->bytes};
	return 0;
}

/* One entry of LMDB's free list: how many, then page numbers, largest first, each once. */
static int check_free(struct walk *walk, const MDB_val *key, const MDB_val *value)
{
	const size_t *pages = value->mv_data;
	size_t count = value->mv_size / sizeof(*pages);

	if (key->mv_size != sizeof(size_t) || !count || pages[0] > count - 1)
		return wrong(walk, "free pages", "an entry does not fit its length");
	for (size_t i = 1; i <= pages[0]; i++) {
		if (pages[i] < 2 || pages[i] >= walk->pages || (i > 1 && pages[i] >= pages[i - 1]))
			return wrong(walk, "free pages", "a page number is out of order");
	}
	return 0;
}

static int walk_cursor(struct walk *walk, const char *table, MDB_cursor *cursor, MDB_dbi dbi,
		       uint64_t expected, bool touch)
{
	struct last_key last = {0};
	uint64_t count = 0;
	MDB_val key, value;
	uLong sum = 0;
	int code, error = 0;

	for (MDB_cursor_op op = MDB_FIRST; !error; op = MDB_NEXT) {
		code = mdb_cursor_get(cursor, &key, &value, op);
		if (code == MDB_NOTFOUND)
			break;
		if (code)
			return wrong(walk, table, mdb_strerror(code));
		if (++count > expected)
			return wrong(walk, table, "there are more rows than it says");
		error = dbi == FREE_LIST ? check_free(walk, &key, &value)
					 : check_key(walk, table, &key, &last);
		if (touch)
			sum = crc32_z(sum, value.mv_data, value.mv_size);
	}
	(void)sum;
	if (!error && count != expected)
		error = wrong(walk, table, "there are fewer rows than it says");
	return error;
}

static int walk_table(struct walk *walk, const char *table, MDB_dbi dbi, bool touch)
{
	MDB_cursor *cursor;
	MDB_stat stat;
	int error, code = mdb_stat(walk->txn, dbi, &stat);

	if (!code)
		code = mdb_cursor_open(walk->txn, dbi, &cursor);
	if (code)
		return wrong(walk, table, mdb_strerror(code));
	error = walk_cursor(walk, table, cursor, dbi, stat.ms_entries, touch);
	mdb_cursor_close(cursor);
	return error;
}

static int walk_tables(struct walk *walk)
{
	const struct env_kind *kind = walk->env.kind;
	int error = walk_table(walk, "free pages", FREE_LIST, false);

	for (unsigned int i = 0; i < kind->table_count && !error; i++) {
		/* The pieces' bytes are verified when they are used. */
		bool pieces = kind == &contents_kind && i == CONTENTS_PIECES;

		error = walk_table(walk, kind->tables[i], walk->env.tables[i], !pieces);
	}
	return error;
}

static int walk_env(const char *path, const struct env_kind *kind, char text[TEXT_ROOM])
{
	struct walk walk = {.text = text};
	struct reason reason = {0};
	MDB_envinfo info;
	int error = env_open(path, kind, ENV_ALONE, &walk.env, &reason);

	if (error) {
		snprintf(text, TEXT_ROOM, "%.190s", reason.message);
		return error == -ENOMEM ? error : -EBADMSG;
	}
	error = mdb_env_info(walk.env.lmdb, &info) ? -EBADMSG : 0;
	walk.pages = (uint64_t)info.me_last_pgno + 1;
	if (!error)
		error = env_read_begin(&walk.env, &walk.txn);
	if (error)
		return wrong(&walk, "meta pages", "they cannot be read");
	error = walk_tables(&walk);
	env_read_end(&walk.env, walk.txn);
	env_close(&walk.env);
	return error;
}

/*
 * The child dies of damage quietly: no handler of the parent's, no core, and an assertion inside
 * LMDB finds no stderr. It keeps nothing but the pipe, above all not the lock: a child that
 * outlives a killed mount for a moment must not keep the next one out.
 */
static void expect_to_die(int pipe)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};
	struct rlimit none = {0};

	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		signal(fatal[i], SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(pipe, STDIN_FILENO);
	close_range(STDIN_FILENO + 1, ~0u, 0);
}

static _Noreturn void child_main(const char *path, const struct env_kind *rows, int pipe)
{
	char text[TEXT_ROOM] = "";
	int error;

	expect_to_die(pipe);
	error = walk_env(path, rows, text);
	if (!error)
		error = walk_env(path, &contents_kind, text);
	if (error && write(STDIN_FILENO, text, strlen(text)) < 0)
		_exit(3);
	_exit(error == 0 ? 0 : error == -ENOMEM ? 2 : 1);
}

/* Waits, but not for ever. Returns false when the child had to be killed. */
static bool wait_for(pid_t child, int *status)
{
	struct pollfd poller = {.fd = pidfd_open(child, 0), .events = POLLIN};
	int ready;

	do
		ready = poller.fd < 0 ? 1 : poll(&poller, 1, PATIENCE_MS);
	while (ready < 0 && errno == EINTR);
	if (poller.fd >= 0)
		close(poller.fd);
	if (ready == 0)
		kill(child, SIGKILL);
	while (waitpid(child, status, 0) < 0 && errno == EINTR)
		;
	return ready != 0;
}

static int damaged(const char *path, const char *text, struct reason *reason)
{
	return reason_set(reason, EBADMSG, "store_damaged",
			  "the state in %.200s is damaged (%.190s) and was left untouched; restore "
			  "it from a backup, or move it away and deploy the archives again",
			  path, text);
}

static int judge(const char *path, bool in_time, int status, const char *text,
		 struct reason *reason)
{
	char death[64];

	if (!in_time)
		return damaged(path, "reading it does not end", reason);
	if (WIFSIGNALED(status)) {
		snprintf(death, sizeof(death), "reading it ends with %s",
			 strsignal(WTERMSIG(status)));
		return damaged(path, death, reason);
	}
	if (WEXITSTATUS(status) == 0)
		return 0;
	if (WEXITSTATUS(status) == 2)
		return reason_set(reason, ENOMEM, "store_failed", "cannot check %s: %s", path,
				  text);
	return damaged(path, text[0] ? text : "reading it fails", reason);
}

int check_state(const char *path, const struct env_kind *rows, struct reason *reason)
{
	char text[TEXT_ROOM] = "";
	int ends[2], status = 0;
	bool in_time;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return reason_set(reason, EIO, "store_failed", "cannot make a pipe: %s",
				  strerror(errno));
	child = fork();
	if (child == 0)
		child_main(path, rows, ends[1]);
	close(ends[1]);
	if (child < 0) {
		close(ends[0]);
		return reason_set(reason, ENOMEM, "store_failed", "cannot fork: %s",
				  strerror(errno));
	}
	/* The text is shorter than a pipe's buffer, so the child never waits for us. */
	in_time = wait_for(child, &status);
	if (read(ends[0], text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(ends[0]);
	return judge(path, in_time, status, text, reason);
}
