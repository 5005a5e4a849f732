#!/usr/bin/env escript
%%! +S 1:1
%% Real Erlang/OTP at the work of actors.py: a gen_server that counts, one scheduler. Prints lines of a row and its microseconds of
%% CPU (kilobytes for memory). Argument: the share of the work to do, 1 for all of it, 10 for a tenth.
-module(actors).
-behaviour(gen_server).
-mode(compile).
-export([main/1, init/1, handle_call/3, handle_cast/2, start_link/0]).

init([]) -> {ok, 0}.
handle_call({add, N}, _From, Value) -> {reply, Value + N, Value + N};
handle_call(crash, _From, _Value) -> exit(crash).
handle_cast({add, N}, Value) -> {noreply, Value + N}.

start_link() -> gen_server:start_link({local, counter}, ?MODULE, [], []).
start() -> {ok, Pid} = gen_server:start(?MODULE, [], []), Pid.

main([Share]) ->
    logger:set_primary_config(level, none),
    S = list_to_integer(Share),
    row("cast", 200000 div S, fun casts/1),
    row("sequential call", 20000 div S, fun calls/1),
    row("100 concurrent callers", 50000 div S, fun callers/1),
    row("spawn + stop", 5000 div S, fun spawns/1),
    row("fan-out to 1k", 1000 * max(1, 20 div S), fun fan_out/1),
    row("crash to next answer", 500 div S, fun crashes/1),
    Many = [start() || _ <- lists:seq(1, 10000 div S)],
    [erlang:garbage_collect(P) || P <- Many],
    Words = lists:sum([element(2, process_info(P, memory)) || P <- Many]),
    io:format("idle actor\t~f~n", [Words / length(Many) / 1024]).

row(Name, Count, Fun) ->
    Fun(max(1, Count div 10)),
    erlang:statistics(runtime),
    Fun(Count),
    {_, Milliseconds} = erlang:statistics(runtime),
    io:format("~s\t~f~n", [Name, Milliseconds * 1000 / Count]).

casts(Count) ->
    Pid = start(),
    [begin
         [gen_server:cast(Pid, {add, 1}) || _ <- lists:seq(1, 1000)],
         gen_server:call(Pid, {add, 0})
     end || _ <- lists:seq(1, max(1, Count div 1000))],
    gen_server:stop(Pid).

calls(Count) ->
    Pid = start(),
    [gen_server:call(Pid, {add, 1}) || _ <- lists:seq(1, Count)],
    gen_server:stop(Pid).

callers(Count) ->
    Pid = start(),
    Each = max(1, Count div 100),
    Callers = [spawn_monitor(fun() -> [gen_server:call(Pid, {add, 1}) || _ <- lists:seq(1, Each)] end)
               || _ <- lists:seq(1, 100)],
    [receive {'DOWN', Ref, process, _, _} -> ok end || {_, Ref} <- Callers],
    gen_server:stop(Pid).

spawns(Count) -> [gen_server:stop(start()) || _ <- lists:seq(1, Count)].

fan_out(Count) ->
    Pids = [start() || _ <- lists:seq(1, 1000)],
    [begin
         Asked = [gen_server:send_request(Pid, {add, 1}) || Pid <- Pids],
         [{reply, _} = gen_server:receive_response(Request, 5000) || Request <- Asked]
     end || _ <- lists:seq(1, max(1, Count div 1000))],
    [gen_server:stop(Pid) || Pid <- Pids].

crashes(Count) ->
    {ok, Sup} = supervisor_of(Count),
    [begin
         catch gen_server:call(counter, crash),
         answer()
     end || _ <- lists:seq(1, Count)],
    unlink(Sup),
    exit(Sup, shutdown),
    Ref = monitor(process, Sup),
    receive {'DOWN', Ref, process, _, _} -> ok end.

answer() ->
    try gen_server:call(counter, {add, 1}) catch exit:{noproc, _} -> erlang:yield(), answer() end.

supervisor_of(Count) ->
    %% supervisor_bridge would need a module of its own; supervisor takes its specs from init/1 of a module, so one is made.
    Forms = [{attribute, 1, module, actors_sup}, {attribute, 1, export, [{init, 1}]},
             {function, 1, init, 1, [{clause, 1, [{var, 1, 'X'}], [], [{var, 1, 'X'}]}]}],
    {ok, Module, Binary} = compile:forms(Forms),
    code:load_binary(Module, "actors_sup", Binary),
    Spec = #{id => counter, start => {?MODULE, start_link, []}},
    supervisor:start_link(Module, {ok, {#{intensity => Count + 1, period => 3600}, [Spec]}}).
