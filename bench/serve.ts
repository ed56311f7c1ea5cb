// The contender's side: answers what the controller asks for, one thing at a time, until the controller lets go.

/** What a contender can be asked for; the argument and the answer are sent between processes. */
export type Service = Readonly<Record<string, (argument: never) => unknown>>;

export type Request = { readonly name: string; readonly argument: unknown };
export type Response = { readonly answer: unknown } | { readonly failure: string };

/** Answers requests by the functions of `service`, and ends the process with the controller. */
export function serve(service: Service): void {
  process.on('message', (request: Request) => {
    void (async () => {
      let response: Response;
      try {
        response = { answer: await service[request.name]!(request.argument as never) };
      } catch (error) {
        response = { failure: error instanceof Error ? (error.stack ?? error.message) : String(error) };
      }
      process.send!(response);
    })();
  });
  process.once('disconnect', () => process.exit());
  process.send!({ answer: 'ready' } satisfies Response);
}
