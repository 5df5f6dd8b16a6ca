/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `aionfs mount` and `mount.aionfs`: from words to a struct mount. Everything that can be refused
 * without opening the state is refused here, in the caller's own process.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/commands.h"
#include "fs/mount.h"
#include "fs/mountpoint.h"
#include "fs/say.h"

static const char details[] =
    "Makes the state directory STATE if it is missing, reloads what is in it, and serves it at\n"
    "MOUNTPOINT. Returns when the mount is ready.\n"
    "\n"
    "  -f                      stay in the foreground, with the log's loud lines on stderr\n"
    "  -o OPTION,OPTION        mount options:\n"
    "     allow_other          all users may enter the mount (the default for root)\n"
    "     no_allow_other       only the user that mounts may\n"
    "     deploy_group=GROUP   members may deploy, route and unload, too\n"
    "     start_group=GROUP    members may start runs; without it those who may deploy\n"
    "     package=FILE         load this package at every mount without persisting it, and\n"
    "                          route its type to it; may be given several times\n"
    "     max_archive_bytes=N  largest archive (4G); K, M, G and T are powers of 1024\n"
    "     max_inflated_bytes=N largest package, unpacked (16G)\n"
    "     max_entries=N        most files, directories and links in one (1000000)\n"
    "     max_attempts_running=N  processes of runs at once (64); the rest waits\n"
    "     park_after=TIME      how long a waiting run keeps its processes (10s); s, m, h, d\n"
    "     keep_runs=TIME       remove finished runs that are older, as in keep_runs=30d\n"
    "     no_scrub             verify contents at first use only, not in the background\n"
    "     nosuid nodev noexec noatime, and those that fstab has for every filesystem\n"
    "\n"
    "It ends with umount, fusermount3 -u, aionfs stop, SIGTERM, SIGINT or SIGHUP.\n";

struct request {
	struct mount mount;
	bool foreground;
	bool fake;   /* mount -f: all but mounting */
	bool sloppy; /* mount -s: unknown options are ignored */
	int code;    /* the exit code of a failure */
	int misuse;  /* that of a command line without sense */
	struct reason reason;
};

static int take_text(struct request *request, const char *text)
{
	if (options_parse(&request->mount.options, text, request->sloppy, &request->reason) == 0)
		return EXIT_DONE;
	say_reason("mount", &request->reason, 0);
	return request->misuse;
}

static int take_option(void *context, int letter, char *value)
{
	struct request *request = context;

	switch (letter) {
	case 'f':
		request->foreground = true;
		return EXIT_DONE;
	default:
		return take_text(request, value);
	}
}

/* mount(8), "EXTERNAL HELPERS": [-sfnv] [-N namespace] [-o options] [-t type.subtype] */
static int take_helper_option(void *context, int letter, char *value)
{
	struct request *request = context;

	switch (letter) {
	case 'f':
		request->fake = true;
		return EXIT_DONE;
	case 'r':
		return take_text(request, "ro");
	case 'o':
		return take_text(request, value);
	default: /* -s is read beforehand; -n, -v, -w and -t say nothing new */
		return EXIT_DONE;
	}
}

static int fail(struct request *request)
{
	say_reason("mount", &request->reason, 0);
	return request->code;
}

static int mount_it(struct request *request, const char *state, const char *mountpoint)
{
	char state_path[PATH_MAX], mountpoint_path[PATH_MAX];
	struct mount *mount = &request->mount;
	struct reason *reason = &request->reason;
	int error;

	if (mountpoint_resolve_state(state, state_path, reason) != 0 ||
	    mountpoint_resolve(mountpoint, mountpoint_path, reason) != 0 ||
	    mountpoint_check(mountpoint_path, state_path, reason) != 0 ||
	    options_resolve(&mount->options, reason) != 0)
		return fail(request);
	if (request->fake)
		return EXIT_DONE;
	mount->state = state_path;
	mount->mountpoint = mountpoint_path;
	error = daemon_start(request->foreground, &mount->daemon);
	if (error) {
		say("mount: the daemon could not be started: %s", strerror(-error));
		return request->code;
	}
	error = mount_serve(mount);
	return daemon_end(&mount->daemon, error ? request->code : EXIT_DONE);
}

static int run_mount(int argc, char **argv)
{
	struct request request = {.code = EXIT_FAILED, .misuse = EXIT_USAGE};
	int first, code;

	options_init(&request.mount.options);
	if (command_options(&command_mount, argc, argv, "fo:", take_option, &request, &first,
			    &code) == 0)
		code = argc - first == 2 ? mount_it(&request, argv[first], argv[first + 1])
					 : command_usage(&command_mount);
	options_free(&request.mount.options);
	return code;
}

/* Whether -s is among the options, however they are put together; it counts for all of them. */
static bool is_sloppy(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-o") == 0 || strcmp(argv[i], "-t") == 0 ||
		    strcmp(argv[i], "-N") == 0)
			i++;
		else if (argv[i][0] == '-' &&
			 strspn(argv[i] + 1, "sfnvrw") == strlen(argv[i] + 1) &&
			 strchr(argv[i], 's'))
			return true;
	}
	return false;
}

int command_mount_helper(int argc, char **argv)
{
	/* Exit codes are those of mount(8): 1 misuse, 32 the mount failed. */
	struct request request = {.code = EXIT_HELPER, .misuse = EXIT_FAILED};
	int first, code;

	options_init(&request.mount.options);
	request.sloppy = is_sloppy(argc, argv);
	if (command_options(&command_mount, argc, argv, "sfnvrwo:t:N:", take_helper_option,
			    &request, &first, &code) == 0) {
		if (argc - first == 2)
			code = mount_it(&request, argv[first], argv[first + 1]);
		else
			code = command_usage(&command_mount);
	}
	if (code == EXIT_USAGE)
		code = request.misuse;
	options_free(&request.mount.options);
	return code;
}

const struct command command_mount = {
    .name = "mount",
    .arguments = "[-f] [-o OPTIONS] STATE MOUNTPOINT",
    .summary = "serve a state directory at a mountpoint",
    .details = details,
    .run = run_mount,
};
