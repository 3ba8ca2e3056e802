package shop;

/** A message that this program cannot use. It stops its partition. */
class CannotRead extends Exception {
  CannotRead(String reason) {
    super(reason);
  }
}
