/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `aionfs sleep`: arms a durable timer, by one write into timers/NAME, and reads wait/timers/NAME,
 * which is held until it fires.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/client.h"
#include "fs/commands.h"
#include "fs/say.h"

struct nap {
	struct client client;
	const char *name, *duration;
	char *timer, *wait; /* timers/NAME, wait/timers/NAME */
	bool is_named;	    /* the name was accepted */
};

/* The timer is set to something else: both texts are told. */
static int tell_other(const struct nap *nap)
{
	char text[128] = "";
	int fd = open(nap->timer, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	say("sleep: timer \"%s\" is set to \"%s\" already, and not to \"%s\"", nap->name, text,
	    nap->duration);
	return EXIT_FAILED;
}

static int fail(const struct nap *nap, int error)
{
	switch (error) {
	case EEXIST:
		return tell_other(nap);
	case EPERM:
		say("sleep: this is not a process of the current attempt of %s, which alone may "
		    "set timer \"%s\"",
		    nap->client.run, nap->name);
		break;
	case EINVAL:
	case ENAMETOOLONG:
		if (nap->is_named)
			say("sleep: \"%s\" is no time: 90s, 15m, 36h, 30d or @UNIX_SECONDS",
			    nap->duration);
		else
			say("sleep: \"%s\" can't be a name: 1 to 255 bytes of UTF-8, no control "
			    "characters, no leading dot",
			    nap->name);
		break;
	case ECANCELED:
		say("sleep: the run ended before timer \"%s\" fired", nap->name);
		break;
	default:
		say("sleep: timer \"%s\" of %s: %s", nap->name, nap->client.run, strerror(error));
		break;
	}
	return EXIT_FAILED;
}

/* One write is one command: its error comes from the write itself. Returns -errno. */
static int arm(struct nap *nap)
{
	size_t length = strlen(nap->duration);
	int fd = open(nap->timer, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), error = 0;
	ssize_t put;

	if (fd < 0)
		return -errno;
	nap->is_named = true;
	do
		put = write(fd, nap->duration, length);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		error = -errno;
	else if ((size_t)put != length)
		error = -EIO;
	if (close(fd) != 0 && !error)
		error = -errno;
	return error;
}

/* What can be read there is the timer's own text: it tells only that it fired. */
static int wait_for_it(const struct nap *nap)
{
	char text[128];
	int fd = open(nap->wait, O_RDONLY | O_CLOEXEC), error = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	do
		got = read(fd, text, sizeof(text));
	while (got > 0 || (got < 0 && errno == EINTR));
	if (got < 0)
		error = -errno;
	close(fd);
	return error;
}

static int run_sleep(int argc, char **argv)
{
	struct nap nap = {0};
	int first, code, error = -ENOMEM;

	if (command_options(&command_sleep, argc, argv, "", NULL, NULL, &first, &code))
		return code;
	/* A write of nothing reaches no filesystem, and the wait would be for ever. */
	if (argc - first != 2 || !argv[first + 1][0])
		return command_usage(&command_sleep);
	nap.name = argv[first];
	nap.duration = argv[first + 1];
	if (!client_open(&nap.client, "sleep", NULL) || !client_check_name(&nap.client, nap.name))
		return EXIT_FAILED;
	nap.timer = client_path(&nap.client, "timers", "", nap.name);
	nap.wait = client_path(&nap.client, "wait/timers", "", nap.name);
	if (nap.timer && nap.wait)
		error = arm(&nap);
	if (!error)
		error = wait_for_it(&nap);
	code = error ? fail(&nap, -error) : EXIT_DONE;
	free(nap.timer);
	free(nap.wait);
	return code;
}

const struct command command_sleep = {
    .name = "sleep",
    .arguments = "NAME DURATION",
    .summary = "in a workflow: wait for a durable timer",
    .details =
	"Arms timer NAME of the run and returns when it has fired. DURATION is 90s, 15m, 36h or\n"
	"30d, counted from the moment when it is armed first, or @UNIX_SECONDS. The timer goes on\n"
	"while nothing of the workflow runs, and across crashes and restarts; a replay does not\n"
	"wait for it again. The same name with another duration is refused (exit code 1).\n",
    .run = run_sleep,
};
