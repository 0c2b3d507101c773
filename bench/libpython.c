/* Python as a program that is linked to libpython, which is what an nginx with the module runs. The usual
 * program may be built in another way: Debian's is, and runs the same code in less time. */

#include <Python.h>

int main(int argc, char **argv) {
    return Py_BytesMain(argc, argv);
}
