/* NSS's softokn takes its parameters where PKCS#11 has pReserved: this module hands it those of the environment. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

typedef unsigned long CK_RV;
/* CK_NSS_C_INITIALIZE_ARGS: one member more than CK_C_INITIALIZE_ARGS, before pReserved. */
struct arguments {
    void *create, *destroy, *lock, *unlock;
    unsigned long flags;
    char *parameters;
    void *reserved;
};
struct list {
    unsigned char version[2];
    CK_RV (*initialize)(void *);
    void *others[67];
};
static struct list ours, *theirs;

static CK_RV initialize(void *given)
{
    struct arguments arguments = { .flags = 2 /* CKF_OS_LOCKING_OK */, .parameters = getenv("NSS_MODULE_PARAMETERS") };
    (void)given;
    return theirs->initialize(&arguments);
}

CK_RV C_GetFunctionList(struct list **list)
{
    void *library = dlopen("libsoftokn3.so", RTLD_NOW);
    CK_RV (*get)(struct list **) = library ? (CK_RV (*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;
    CK_RV rv = get ? get(&theirs) : 5 /* CKR_GENERAL_ERROR */;
    if (rv)
        return rv;
    ours = *theirs;
    ours.initialize = initialize;
    *list = &ours;
    return 0;
}
