package follower;

/** An update does not pass a check; the last good version stays in use. */
final class Refused extends Exception {
    final String check;

    Refused(String check, String reason) {
        super(check + ": " + reason);
        this.check = check;
    }
}
