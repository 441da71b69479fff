/* Blocks on all cores.  Threads are begun when they are first needed; after the last block they look for more
   for about half a millisecond, and sleep then.  While one call has them, another computes its blocks alone.  A forked
   process begins threads of its own. */
typedef void (*block_function)(const void *given, int64_t number);

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER;
static struct { block_function function; const void *given; int64_t count; } work;
static _Atomic int64_t next_block, helping, calls;
static int is_open, threads;

/* Many neighbouring blocks at first, fewer towards the end, so that memory is read in long runs and all end together. */
static void compute_blocks(void) {
    for (int64_t first = atomic_load(&next_block); first < work.count; first = atomic_load(&next_block)) {
        const int64_t left = work.count - first, last = first + (left > 4 * threads ? left / (2 * threads + 2) : 1);
        if (!atomic_compare_exchange_strong(&next_block, &first, last)) continue;
        for (int64_t number = first; number < last; ++number) work.function(work.given, number);
    }
}

static void *help(void *unused) {
    for (int64_t seen = 0;;) {
        for (int looks = 0; looks < 2000 && atomic_load(&calls) == seen; ++looks) sched_yield();
        pthread_mutex_lock(&lock);
        while (!is_open || atomic_load(&calls) == seen) pthread_cond_wait(&begun, &lock);
        seen = atomic_load(&calls);
        atomic_fetch_add(&helping, 1);
        pthread_mutex_unlock(&lock);
        compute_blocks();
        atomic_fetch_sub(&helping, 1);
    }
    return unused;
}

static void forget_threads(void) {
    pthread_mutex_init(&taken, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&begun, NULL);
    helping = 0;
    is_open = threads = 0;
}

static void begin_threads(int64_t wanted) {
    static int is_watched;
    if (threads >= wanted) return;
    if (!is_watched) is_watched = !pthread_atfork(NULL, NULL, forget_threads);
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);  /* signals are for the threads of Python */
    for (pthread_t thread; threads < wanted && !pthread_create(&thread, NULL, help, NULL); ++threads)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void on_all_cores(block_function function, const void *given, int64_t count, int64_t cores) {
    if (count < 2 || cores < 2 || pthread_mutex_trylock(&taken)) {
        for (int64_t number = 0; number < count; ++number) function(given, number);
        return;
    }
    begin_threads(cores - 1);
    pthread_mutex_lock(&lock);
    work.function = function, work.given = given, work.count = count;
    next_block = 0;
    is_open = 1;
    atomic_fetch_add(&calls, 1);
    pthread_cond_broadcast(&begun);
    pthread_mutex_unlock(&lock);
    compute_blocks();
    pthread_mutex_lock(&lock);
    is_open = 0;
    pthread_mutex_unlock(&lock);
    while (atomic_load(&helping)) sched_yield();
    pthread_mutex_unlock(&taken);
}
