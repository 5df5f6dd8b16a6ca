/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of the decoder. Owns one child process per call, from the spawn to the wait:
 * no path out of decoder_run leaves one behind, or a descriptor. The child gets a read-only
 * descriptor of the spool and its end of the ring, and none other; an empty environment; every
 * signal at its default. What it says goes through frame_reader; what it does is bounded by its own
 * limits, and by the patience here.
 */
#include "engine/decoder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/frame_reader.h"
#include "engine/program.h"
#include "engine/ring.h"

#define POLL_MS 50

/* A process that uses no CPU escapes its CPU limit: it is ended when it is silent for so long. */
#define SILENCE_SECONDS 60

static const char *chosen_program;

struct child {
	pid_t pid;
	struct ring ring;
	unsigned silence; /* ms since it last said something */
};

void decoder_set_program(const char *path)
{
	chosen_program = path;
}

static void find_program(char *path, size_t size)
{
	if (chosen_program)
		snprintf(path, size, "%s", chosen_program);
	else
		program_find("aionfs-decoder", path, size);
}

static int cannot(struct reason *reason, const char *what, int error)
{
	return reason_set(reason, EIO, "decoder_failed", "cannot %s: %s", what, strerror(error));
}

static int prepare_descriptors(posix_spawn_file_actions_t *actions, int spool,
			       const struct ring *ring)
{
	int error = posix_spawn_file_actions_adddup2(actions, spool, STDIN_FILENO);

	if (error == 0)
		error = posix_spawn_file_actions_adddup2(actions, ring->peer, STDOUT_FILENO);
	if (error == 0)
		error = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null",
							 O_WRONLY, 0);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(actions, ring->memory, RING_DESCRIPTOR);
	if (error == 0)
		error = posix_spawn_file_actions_addclosefrom_np(actions, RING_DESCRIPTOR + 1);
	return error;
}

static int prepare_signals(posix_spawnattr_t *attributes)
{
	sigset_t all, none;
	int error;

	sigfillset(&all);
	sigemptyset(&none);
	error = posix_spawnattr_setsigdefault(attributes, &all);
	if (error == 0)
		error = posix_spawnattr_setsigmask(attributes, &none);
	if (error == 0)
		error = posix_spawnattr_setflags(attributes,
						 POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	return error;
}

/* Returns 0 or a positive errno. */
static int spawn(const char *program, char *const argv[], int spool, const struct ring *ring,
		 pid_t *ret_pid)
{
	char *const environment[] = {NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int error = posix_spawn_file_actions_init(&actions);

	if (error != 0)
		return error;
	error = posix_spawnattr_init(&attributes);
	if (error == 0) {
		error = prepare_descriptors(&actions, spool, ring);
		if (error == 0)
			error = prepare_signals(&attributes);
		if (error == 0)
			error =
			    posix_spawn(ret_pid, program, &actions, &attributes, argv, environment);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* The spool once more, read-only, and above all descriptors that the spawn copies to. */
static int reopen_spool(int spool_fd)
{
	char path[64];
	int fd, raised;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", spool_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fd > RING_DESCRIPTOR)
		return fd;
	raised = fcntl(fd, F_DUPFD_CLOEXEC, RING_DESCRIPTOR + 1);
	close(fd);
	return raised;
}

static int start_with(struct child *child, int spool, const struct decoder_limits *limits,
		      struct reason *reason)
{
	char program[PATH_MAX], inflated[24], entries[24], cpu[24], memory[24];
	char *argv[] = {program, inflated, entries, cpu, memory, NULL};
	int error;

	find_program(program, sizeof(program));
	snprintf(inflated, sizeof(inflated), "%" PRIu64, limits->inflated_bytes);
	snprintf(entries, sizeof(entries), "%" PRIu64, limits->entries);
	snprintf(cpu, sizeof(cpu), "%u", limits->cpu_seconds);
	snprintf(memory, sizeof(memory), "%" PRIu64, limits->memory_bytes);
	error = spawn(program, argv, spool, &child->ring, &child->pid);
	if (error != 0)
		return reason_set(reason, EIO, "decoder_failed",
				  "cannot start the decoder %s: %s; is aionfs installed whole?",
				  program, strerror(error));
	return 0;
}

static int start(struct child *child, int spool_fd, const struct decoder_limits *limits,
		 struct reason *reason)
{
	int spool = reopen_spool(spool_fd), result;

	if (spool < 0)
		return cannot(reason, "reopen the spooled archive", errno);
	result = ring_open(&child->ring);
	if (result < 0)
		result = cannot(reason, "make the memory to share with the decoder", -result);
	else
		result = start_with(child, spool, limits, reason);
	ring_release_peer(&child->ring);
	close(spool);
	return result;
}

static int check_size(int spool_fd, const struct decoder_limits *limits, struct reason *reason)
{
	struct stat info;

	if (fstat(spool_fd, &info) < 0)
		return cannot(reason, "look at the spooled archive", errno);
	if (info.st_size > 0 && (uint64_t)info.st_size > limits->archive_bytes)
		return reason_set(reason, EFBIG, "archive_too_large",
				  "the archive is larger than max_archive_bytes (%" PRIu64 ")",
				  limits->archive_bytes);
	return 0;
}

static bool is_cancelled(const atomic_bool *cancel)
{
	return cancel && atomic_load_explicit(cancel, memory_order_relaxed);
}

/* Waits a moment for something to take. */
static int await(struct child *child, const struct decoder_limits *limits, struct reason *reason)
{
	int ready = ring_wait(&child->ring, POLL_MS);

	if (ready < 0)
		return cannot(reason, "wait for the decoder", -ready);
	if (ready > 0) {
		child->silence = 0;
		return 0;
	}
	child->silence += POLL_MS;
	if (child->silence / 1000 > SILENCE_SECONDS + limits->cpu_seconds)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "the decoder said nothing for %u seconds and was ended: the "
				  "archive is damaged or hostile",
				  child->silence / 1000);
	return 0;
}

static int explain_failure(int error, struct reason *reason)
{
	if (error == -EPROTO)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "the decoder's answer makes no sense (its length): the archive "
				  "is damaged or hostile");
	return cannot(reason, "listen to the decoder", -error);
}

static int hear(struct ring *ring, struct frame_reader *reader, const uint8_t *bytes, size_t length,
		struct reason *reason)
{
	int result = frame_reader_take(reader, bytes, length, reason);

	if (result == 0 && ring_free_slot(ring) < 0)
		return explain_failure(-EPROTO, reason);
	return result;
}

/* Returns 0 when the process is done, or says no more. */
static int listen_to(struct child *child, struct frame_reader *reader, const atomic_bool *cancel,
		     struct reason *reason)
{
	for (;;) {
		const uint8_t *bytes;
		size_t length;
		int result;

		if (is_cancelled(cancel))
			return reason_set(reason, EINTR, "interrupted", "decoding was interrupted");
		result = ring_take(&child->ring, &bytes, &length);
		if (result == 0 && length == 0)
			return 0;
		if (result == 0)
			result = hear(&child->ring, reader, bytes, length, reason);
		else if (result == -EAGAIN)
			result = await(child, reader->limits, reason);
		else
			result = explain_failure(result, reason);
		if (result < 0 || reader->finished)
			return result;
	}
}

/* The process is gone, without having said that it was done: why? */
static int explain_death(int status, const struct decoder_limits *limits, struct reason *reason)
{
	int signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	if (signal_number == SIGXCPU)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "decoding used up its %u seconds of CPU time: the archive is "
				  "damaged or hostile, or the limit is too low for it",
				  limits->cpu_seconds);
	if (signal_number == SIGKILL)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "the decoder was killed: it used up its CPU time or the "
				  "machine's memory");
	if (signal_number == SIGSYS)
		return reason_set(
		    reason, EBADMSG, "archive_corrupt",
		    "the decoder asked the kernel for what it may not do and was "
		    "killed: the archive is hostile, or a library behaves in a new way");
	if (signal_number != 0)
		return reason_set(reason, EBADMSG, "archive_corrupt",
				  "the decoder crashed (%s) on this archive: it is damaged or "
				  "hostile",
				  strsignal(signal_number));
	return reason_set(reason, EBADMSG, "archive_corrupt",
			  "the decoder gave up with exit status %d, perhaps for want of memory "
			  "(limit %" PRIu64 " MiB)",
			  WEXITSTATUS(status), limits->memory_bytes >> 20);
}

static int reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 0;
	}
	return status;
}

int decoder_run(int spool_fd, const struct decoder_limits *limits, const struct decoder_sink *sink,
		void *context, const atomic_bool *cancel, struct reason *reason)
{
	struct frame_reader *reader;
	struct child child = {.ring = {.socket = -1, .peer = -1, .memory = -1}};
	int result, status;

	reader = malloc(sizeof(*reader));
	if (!reader)
		return cannot(reason, "decode", ENOMEM);
	frame_reader_init(reader, limits, sink, context);
	result = check_size(spool_fd, limits, reason);
	if (result == 0)
		result = start(&child, spool_fd, limits, reason);
	if (child.pid > 0) {
		result = listen_to(&child, reader, cancel, reason);
		if (result < 0 || reader->finished)
			kill(child.pid, SIGKILL); /* it may have more to say, or nothing to do */
		status = reap(child.pid);
		if (result == 0 && !reader->finished)
			result = explain_death(status, limits, reason);
	}
	ring_close(&child.ring);
	free(reader);
	return result;
}
